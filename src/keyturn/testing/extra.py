"""What the contract kits need beyond keyturn: it comes with the extra `testing`.

The kits import pytest from here, so that an installation without the extra says what to install.
The in-memory service, the builders, the doubles and the tokens for tests need none of it.
"""

try:
    import pytest as pytest  # noqa: PLC0414 - marks it as exported
    import pytest_asyncio  # noqa: F401 - the plugin that runs the kits' `async def`
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "the contract kits need pytest and pytest-asyncio: pip install 'keyturn[testing]'"
    ) from None
