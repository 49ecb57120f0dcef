"""A key that never leaves another process signs, as a KMS or an HSM would."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.adapters.pyjwt.conftest import ISSUER

from keyturn.adapters.pyjwt.codec import PyJwtCodec
from keyturn.adapters.pyjwt.jwks import PublicKeys, keys_from_jwks
from keyturn.adapters.pyjwt.key_ring import Key, SigningAlgorithm, SigningTokenKeys, VerificationKey
from keyturn.domain.errors import SigningUnavailable
from keyturn.ports.tokens import TokenSigner
from keyturn.testing.in_memory import InMemoryKeyturn
from keyturn.use_cases.rotate_refresh import RefreshOutcome

SOURCE = Path(__file__).parents[3] / "src"
VAULT = """
import base64, json, sys
from pathlib import Path
from keyturn.adapters.pyjwt.key_ring import Key
key = Key.from_jwk(json.loads(Path(sys.argv[1]).read_text()))
print(json.dumps(key.public_jwk()), flush=True)
for line in sys.stdin:
    print(base64.b64encode(key.sign(base64.b64decode(line))).decode(), flush=True)
"""


class Vault(TokenSigner, SigningTokenKeys):
    """Speaks with a process that holds the key; here is only the public one."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._one_at_a_time = asyncio.Lock()

    async def open(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            VAULT,
            str(self._key_file),
            env={"PYTHONPATH": str(SOURCE)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        jwk = json.loads(await self._process.stdout.readline())
        self._keys: PublicKeys = keys_from_jwks({"keys": [jwk]})
        self._kid, self._algorithm = str(jwk["kid"]), str(jwk["alg"])

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        # Reads what is left, so that both ends of the pipes are closed.
        await self._process.communicate()

    @property
    def kid(self) -> str:
        return self._kid

    @property
    def algorithm(self) -> str:
        return self._algorithm

    async def sign(self, message: bytes) -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._one_at_a_time:
            try:
                stdin.write(base64.b64encode(message) + b"\n")
                await stdin.drain()
                answer = await stdout.readline()
            except ConnectionError:
                answer = b""
        if not answer:
            raise SigningUnavailable
        return base64.b64decode(answer)

    def find(self, kid: str) -> VerificationKey | None:
        return self._keys.find(kid)

    @property
    def signer(self) -> TokenSigner:
        return self


@pytest.fixture(
    params=[SigningAlgorithm.RS256, SigningAlgorithm.ES256, SigningAlgorithm.EDDSA],
)
async def vault(
    request: pytest.FixtureRequest, tmp_path: Path, key_of: Callable[..., Key]
) -> AsyncIterator[Vault]:
    key_file = tmp_path / "key-of-the-vault.jwk"
    key_file.write_text(json.dumps(key_of(request.param).to_jwk()))
    vault = Vault(key_file)
    await vault.open()
    yield vault
    await vault.close()


@pytest.fixture
def keyturn(vault: Vault) -> InMemoryKeyturn:
    return InMemoryKeyturn(codec=PyJwtCodec(vault, issuer=ISSUER))


async def test_a_session_lives_on_signatures_from_another_process(keyturn: InMemoryKeyturn) -> None:
    user = await keyturn.register()
    tokens = await keyturn.login()
    refreshed = await keyturn.refresh(tokens.refresh_token)
    replayed = await keyturn.refresh(tokens.refresh_token)
    assert (refreshed.outcome, replayed.outcome) == (
        RefreshOutcome.ROTATED,
        RefreshOutcome.REPLAYED,
    )
    assert replayed.tokens.refresh_token.reveal() == refreshed.tokens.refresh_token.reveal()
    principal = keyturn.authenticate_access.execute(refreshed.tokens.access_token)
    assert principal.user_id == user.id


async def test_a_key_that_can_not_be_reached_uses_nothing_up(
    keyturn: InMemoryKeyturn, vault: Vault
) -> None:
    await keyturn.register()
    tokens = await keyturn.login()
    await vault.close()
    for _ in range(3):
        with pytest.raises(SigningUnavailable):
            await keyturn.refresh(tokens.refresh_token)
    with pytest.raises(SigningUnavailable):
        await keyturn.login()
    # What was signed before is verified without it.
    keyturn.authenticate_access.execute(tokens.access_token)
    await vault.open()
    assert (await keyturn.refresh(tokens.refresh_token)).outcome is RefreshOutcome.ROTATED
    async with keyturn.unit_of_work() as uow:
        live = await uow.families.list_live(tokens.user_id, keyturn.clock.now())
    assert [family.id for family in live] == [tokens.session_id]


async def test_many_signatures_at_once_are_told_apart(keyturn: InMemoryKeyturn) -> None:
    await keyturn.register()
    pairs = await asyncio.gather(*(keyturn.login() for _ in range(5)))
    seen = {keyturn.authenticate_access.execute(pair.access_token).session_id for pair in pairs}
    assert seen == {pair.session_id for pair in pairs}
