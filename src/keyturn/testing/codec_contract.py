"""What every token codec must do.

Subclass it and give two fixtures:

```python
class TestMyCodec(TokenCodecContract):
    @pytest.fixture
    def codec(self) -> TokenCodec:
        return MyCodec(...)

    @pytest.fixture
    def stranger(self) -> TokenCodec:
        return MyCodec(...)  # the same, with another key
```
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from keyturn.domain.claims import AccessClaims, DeviceClaims, RefreshClaims
from keyturn.domain.errors import InvalidAccessToken, InvalidRefreshToken, WrongAudience
from keyturn.domain.ids import FamilyId, TokenId, UserId
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.secret import Secret
from keyturn.ports.tokens import TokenCodec
from keyturn.testing.extra import pytest
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn
from keyturn.use_cases.define_role import DefineRoleCommand
from keyturn.use_cases.register_user import RegisterUserCommand

ISSUED_AT = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
EXPIRES_AT = ISSUED_AT + timedelta(minutes=15)
TICK = timedelta(microseconds=1)

ACCESS = AccessClaims(
    token_id=TokenId(UUID("11111111-2222-4333-8444-555555555555")),
    user_id=UserId(UUID("01890a5d-ac96-774b-bcce-b302099a8057")),
    family_id=FamilyId(UUID("01890a5d-ac96-774b-bcce-b302099a8058")),
    client_id="notes",
    audience="https://api.example.com",
    epoch=3,
    roles=frozenset({"user", "éditeur"}),
    permissions=frozenset({"profile:read", "profile:write"}),
    scope=frozenset({"profile:read"}),
    auth_time=ISSUED_AT - timedelta(days=3),
    issued_at=ISSUED_AT,
    expires_at=EXPIRES_AT,
)
AUDIENCES = frozenset({ACCESS.audience})
REFRESH = RefreshClaims(
    token_id=TokenId(UUID("11111111-2222-4333-8444-666666666666")),
    user_id=ACCESS.user_id,
    family_id=ACCESS.family_id,
    issued_at=ISSUED_AT,
    expires_at=ISSUED_AT + timedelta(days=7),
)
DEVICE = DeviceClaims(
    user_id=ACCESS.user_id,
    family_id=ACCESS.family_id,
    credentials_version=7,
    issued_at=ISSUED_AT,
    expires_at=ISSUED_AT + timedelta(days=180),
)

HOSTILE_TEXTS = {
    "nothing": "",
    "blank": " ",
    "a dot": ".",
    "two dots": "..",
    "three dots": "...",
    "no token": "not a token",
    "a null byte": "\x00",
    "null bytes in place": "\x00.\x00.\x00",
    "a lone surrogate": "\ud800",
    "lone surrogates in place": "\ud800.\udfff.\ud800",
    "not ASCII": "ключ.ключ.ключ",
    "full-width digits": "１.２.３",
    "empty objects": "e30.e30.e30",
    "JSON": '{"type":"access"}',
    "a megabyte": "A" * 1_048_576,
    "a megabyte of dots": "." * 1_048_576,
    "a million parts": "e30." * 262_144,
}


class TokenCodecContract:
    """The contract of `TokenCodec`."""

    @pytest.fixture
    def codec(self) -> TokenCodec:
        """Return the codec to check."""
        raise NotImplementedError

    @pytest.fixture
    def stranger(self) -> TokenCodec:
        """Return a codec of the same make and names, but with a key of its own."""
        raise NotImplementedError

    async def test_an_access_token_gives_back_its_claims(self, codec: TokenCodec) -> None:
        """What went in comes out, to the last claim."""
        token = await codec.encode_access(ACCESS)
        assert codec.decode_access(token, ISSUED_AT, audiences=AUDIENCES) == ACCESS

    @pytest.mark.parametrize("permissions", [None, frozenset[str](), frozenset({"a:b", "c:d"})])
    @pytest.mark.parametrize("scope", [None, frozenset[str](), frozenset({"a:b", "c:d"})])
    async def test_absent_and_empty_stay_apart(
        self,
        codec: TokenCodec,
        permissions: frozenset[str] | None,
        scope: frozenset[str] | None,
    ) -> None:
        """None says nothing of the rights, an empty set says that there are none."""
        claims = replace(ACCESS, roles=frozenset(), permissions=permissions, scope=scope)
        token = await codec.encode_access(claims)
        assert codec.decode_access(token, ISSUED_AT, audiences=AUDIENCES) == claims

    async def test_a_bound_access_token_names_its_key(self, codec: TokenCodec) -> None:
        """The thumbprint of the key comes back (RFC 9449 §6.1)."""
        claims = replace(ACCESS, key_thumbprint="0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")
        token = await codec.encode_access(claims)
        assert codec.decode_access(token, ISSUED_AT, audiences=AUDIENCES) == claims

    @pytest.mark.parametrize(
        ("many_roles", "told"), [(False, {"big-0", "big-1", "big-2", "user"}), (True, frozenset())]
    )
    async def test_more_rights_than_a_token_holds_are_kept_out_of_it_and_nobody_is_kept_out(
        self, codec: TokenCodec, *, many_roles: bool, told: frozenset[str]
    ) -> None:
        """A token has room for all that it is given to tell, and the rest is looked up."""
        keyturn = InMemoryKeyturn(codec=codec)
        count = 99 if many_roles else 3
        names = [f"big-{number}" + "-" * 50 * many_roles for number in range(count)]
        for name in names:
            permissions = frozenset(f"p{number}:{name}{'a' * 40}"[:64] for number in range(50))
            await keyturn.define_role.execute(DefineRoleCommand(name, permissions, actor=None))
        roles = frozenset({"user", *names})
        user = await keyturn.register_user.execute(RegisterUserCommand(ADA, PASSWORD, roles=roles))
        tokens = await keyturn.login()
        tokens = (await keyturn.refresh(tokens.refresh_token)).tokens
        principal = keyturn.authenticate_access.execute(tokens.access_token)
        assert (principal.roles, principal.permissions) == (told, None)
        principal = await keyturn.resolve_permissions.execute(principal)
        assert (principal.roles, principal.permissions) == (roles, user.permissions)

    async def test_an_access_token_for_another_audience_is_refused(self, codec: TokenCodec) -> None:
        """Only the accepted audiences count, to the letter; the error says no more than that."""
        token = await codec.encode_access(ACCESS)
        for others in (
            frozenset[str](),
            frozenset({"https://other.example"}),
            frozenset({ACCESS.audience + "/"}),
            frozenset({ACCESS.audience.upper()}),
            frozenset({ACCESS.audience[:-1]}),
        ):
            with pytest.raises(WrongAudience) as caught:
                codec.decode_access(token, ISSUED_AT, audiences=others)
            assert caught.value.args == (WrongAudience.message,)
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
        several = frozenset({"https://other.example", ACCESS.audience})
        assert codec.decode_access(token, ISSUED_AT, audiences=several) == ACCESS

    async def test_only_a_genuine_and_current_token_is_of_the_wrong_audience(
        self, codec: TokenCodec, stranger: TokenCodec
    ) -> None:
        """An attacker learns nothing of a token that is worth nothing."""
        others = frozenset({"https://other.example"})
        for token, now in (
            (await stranger.encode_access(ACCESS), ISSUED_AT),
            (await codec.encode_access(ACCESS), EXPIRES_AT),
            (await codec.encode_access(ACCESS), ISSUED_AT - MAX_CLOCK_SKEW - TICK),
            (await codec.encode_refresh(REFRESH), ISSUED_AT),
        ):
            with pytest.raises(InvalidAccessToken) as caught:
                codec.decode_access(token, now, audiences=others)
            assert not isinstance(caught.value, WrongAudience)

    async def test_a_refresh_token_gives_back_its_claims(self, codec: TokenCodec) -> None:
        """What went in comes out, to the last claim."""
        token = await codec.encode_refresh(REFRESH)
        assert codec.decode_refresh(token) == REFRESH

    async def test_the_same_refresh_claims_give_the_same_token(self, codec: TokenCodec) -> None:
        """A replay is answered with the successor that was handed out before, byte for byte."""
        assert await codec.encode_refresh(REFRESH) == await codec.encode_refresh(replace(REFRESH))

    async def test_other_refresh_claims_give_another_token(self, codec: TokenCodec) -> None:
        """No two tokens of a family are the same."""
        other = replace(REFRESH, token_id=ACCESS.token_id)
        assert await codec.encode_refresh(REFRESH) != await codec.encode_refresh(other)

    async def test_a_refresh_token_is_no_access_token(self, codec: TokenCodec) -> None:
        """Neither kind passes for the other."""
        token = await codec.encode_refresh(REFRESH)
        with pytest.raises(InvalidAccessToken):
            codec.decode_access(token, ISSUED_AT, audiences=AUDIENCES)

    async def test_an_access_token_is_no_refresh_token(self, codec: TokenCodec) -> None:
        """Neither kind passes for the other."""
        token = await codec.encode_access(ACCESS)
        with pytest.raises(InvalidRefreshToken):
            codec.decode_refresh(token)

    async def test_an_access_token_lives_until_just_before_it_expires(
        self, codec: TokenCodec
    ) -> None:
        """The last instant before the expiry still counts."""
        token = await codec.encode_access(ACCESS)
        assert codec.decode_access(token, ACCESS.expires_at - TICK, audiences=AUDIENCES) == ACCESS

    async def test_an_access_token_is_dead_at_the_very_moment_it_expires(
        self, codec: TokenCodec
    ) -> None:
        """The expiry itself is too late, with no leeway (RFC 7519 §4.1.4)."""
        token = await codec.encode_access(ACCESS)
        for late in (timedelta(0), TICK, timedelta(days=1)):
            with pytest.raises(InvalidAccessToken):
                codec.decode_access(token, ACCESS.expires_at + late, audiences=AUDIENCES)

    async def test_an_access_token_of_a_clock_a_little_ahead_is_good_at_once(
        self, codec: TokenCodec
    ) -> None:
        """Workers whose clocks differ slightly accept each other's tokens."""
        token = await codec.encode_access(ACCESS)
        assert codec.decode_access(token, ISSUED_AT - MAX_CLOCK_SKEW, audiences=AUDIENCES) == ACCESS

    async def test_an_access_token_from_the_future_is_refused(self, codec: TokenCodec) -> None:
        """No clock may be further ahead than that."""
        token = await codec.encode_access(ACCESS)
        with pytest.raises(InvalidAccessToken):
            codec.decode_access(token, ISSUED_AT - MAX_CLOCK_SKEW - TICK, audiences=AUDIENCES)

    async def test_an_expired_refresh_token_still_says_whose_it_was(
        self, codec: TokenCodec
    ) -> None:
        """The family decides: an old token that comes back late is what gives a thief away."""
        long_ago = replace(
            REFRESH,
            issued_at=datetime(2001, 1, 1, tzinfo=UTC),
            expires_at=datetime(2001, 1, 8, tzinfo=UTC),
        )
        assert codec.decode_refresh(await codec.encode_refresh(long_ago)) == long_ago

    async def test_a_strangers_token_is_refused(
        self, codec: TokenCodec, stranger: TokenCodec
    ) -> None:
        """Only this codec's keys count."""
        with pytest.raises(InvalidAccessToken):
            codec.decode_access(
                await stranger.encode_access(ACCESS), ISSUED_AT, audiences=AUDIENCES
            )
        with pytest.raises(InvalidRefreshToken):
            codec.decode_refresh(await stranger.encode_refresh(REFRESH))
        assert codec.decode_device(await stranger.encode_device(DEVICE), ISSUED_AT) is None

    async def test_changing_any_one_character_kills_a_token(self, codec: TokenCodec) -> None:
        """Nothing in a token is without meaning."""
        text = (await codec.encode_refresh(REFRESH)).reveal()
        for position, character in enumerate(text):
            changed = "B" if character == "A" else "A"
            forged = text[:position] + changed + text[position + 1 :]
            with pytest.raises(InvalidRefreshToken):
                codec.decode_refresh(Secret(forged))

    async def test_cutting_a_token_anywhere_kills_it(self, codec: TokenCodec) -> None:
        """A part of a token is no token."""
        text = (await codec.encode_access(ACCESS)).reveal()
        for length in range(len(text)):
            with pytest.raises(InvalidAccessToken):
                codec.decode_access(Secret(text[:length]), ISSUED_AT, audiences=AUDIENCES)

    @pytest.mark.parametrize("addition", [" ", "\n", "=", ".", "A", "\x00", "\ud800", "é"])
    async def test_adding_to_a_token_kills_it(self, codec: TokenCodec, addition: str) -> None:
        """A token is compared as it stands: nothing is trimmed or skipped."""
        text = (await codec.encode_access(ACCESS)).reveal()
        for forged in (text + addition, addition + text):
            with pytest.raises(InvalidAccessToken):
                codec.decode_access(Secret(forged), ISSUED_AT, audiences=AUDIENCES)

    @pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
    def test_hostile_text_is_refused_with_the_one_error(self, codec: TokenCodec, text: str) -> None:
        """Whatever is presented, nothing but the one error comes back."""
        with pytest.raises(InvalidAccessToken):
            codec.decode_access(Secret(text), ISSUED_AT, audiences=AUDIENCES)
        with pytest.raises(InvalidRefreshToken):
            codec.decode_refresh(Secret(text))
        assert codec.decode_device(Secret(text), ISSUED_AT) is None

    async def test_a_device_token_gives_back_its_claims(self, codec: TokenCodec) -> None:
        """Decoding returns every claim that was encoded."""
        token = await codec.encode_device(DEVICE)
        assert codec.decode_device(token, ISSUED_AT) == DEVICE

    async def test_a_device_token_is_valid_from_its_issue_until_just_before_it_expires(
        self, codec: TokenCodec
    ) -> None:
        """A clock may be `MAX_CLOCK_SKEW` ahead; the expiry has no leeway (RFC 7519 §4.1.4)."""
        token = await codec.encode_device(DEVICE)
        for now in (ISSUED_AT - MAX_CLOCK_SKEW, DEVICE.expires_at - TICK):
            assert codec.decode_device(token, now) == DEVICE
        for now in (ISSUED_AT - MAX_CLOCK_SKEW - TICK, DEVICE.expires_at):
            assert codec.decode_device(token, now) is None

    async def test_a_device_token_is_neither_an_access_nor_a_refresh_token(
        self, codec: TokenCodec
    ) -> None:
        """A device token opens nothing."""
        token = await codec.encode_device(DEVICE)
        with pytest.raises(InvalidAccessToken):
            codec.decode_access(token, ISSUED_AT, audiences=AUDIENCES)
        with pytest.raises(InvalidRefreshToken):
            codec.decode_refresh(token)

    async def test_neither_an_access_nor_a_refresh_token_is_a_device_token(
        self, codec: TokenCodec
    ) -> None:
        """No other token of the session makes a device known."""
        for token in (await codec.encode_access(ACCESS), await codec.encode_refresh(REFRESH)):
            assert codec.decode_device(token, ISSUED_AT) is None

    async def test_changing_any_one_character_kills_a_device_token(self, codec: TokenCodec) -> None:
        """The signature covers the whole token."""
        text = (await codec.encode_device(DEVICE)).reveal()
        for position, character in enumerate(text):
            changed = "B" if character == "A" else "A"
            forged = text[:position] + changed + text[position + 1 :]
            assert codec.decode_device(Secret(forged), ISSUED_AT) is None

    async def test_the_error_never_says_why_nor_quotes_the_token(self, codec: TokenCodec) -> None:
        """One message for every reason, with no cause that could hold a part of the token."""
        token = await codec.encode_access(ACCESS)
        reasons = {
            "expired": (token, EXPIRES_AT),
            "mangled": (Secret(token.reveal()[:-2]), ISSUED_AT),
            "of the other kind": (await codec.encode_refresh(REFRESH), ISSUED_AT),
            "nonsense": (Secret("\ud800.{.]"), ISSUED_AT),
        }
        for presented, now in reasons.values():
            with pytest.raises(InvalidAccessToken) as caught:
                codec.decode_access(presented, now, audiences=AUDIENCES)
            assert caught.value.args == (InvalidAccessToken.message,)
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
