"""E-mail addresses, as an operator writes them."""


def normalised_email(text: str) -> str:
    """Return an address as it is stored.

    Raises:
        ValueError: it is none; the message says why.
    """
    from email_validator import validate_email  # noqa: PLC0415 - it brings a DNS library along

    return validate_email(text, check_deliverability=False, test_environment=True).normalized
