"""Public keys as a JSON Web Key Set (RFC 7517 §5): what is published, and read by others."""

import json
from collections.abc import Iterable, Mapping

from keyturn.adapters.pyjwt.key_ring import KeyRing, TokenKeys, VerificationKey

MAX_KEYS = 32
"""More than any rotation leaves behind; a set with more is read no further."""


class PublicKeys(TokenKeys):
    """A fixed set of public keys, each bound to one asymmetric algorithm; it never changes."""

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        """Take the keys."""
        self._by_kid = {key.kid: key for key in keys}

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key of this `kid`, or None."""
        return self._by_kid.get(kid)

    def __len__(self) -> int:
        return len(self._by_kid)

    def __repr__(self) -> str:
        return f"PublicKeys({list(self._by_kid.values())!r})"


def jwks_of(ring: KeyRing) -> bytes:
    """Return the public keys of a ring as a JWK Set; the same keys give the same bytes.

    An HMAC secret has no public part and is left out.
    """
    signing = ring.signing_key
    others = sorted(ring.by_kid.keys() - {signing.kid})
    keys = [signing, *(ring.by_kid[kid] for kid in others)]
    published = [jwk for key in keys if (jwk := key.public_jwk()) is not None]
    return json.dumps({"keys": published}, separators=(",", ":")).encode()


def keys_from_jwks(document: Mapping[str, object]) -> PublicKeys:
    """Return the keys of a JWK Set that access tokens can be verified with.

    The algorithm of each follows from its kind (RS256, ES256, EdDSA; RFC 8725 §3.1). Those that
    can't be used are passed over (RFC 7517 §5): other kinds, secrets, weak ones, those for
    encryption, and those whose `alg` or `kid` contradicts the key.

    Raises:
        ValueError: it is no JWK Set.
    """
    members = document.get("keys")
    if not isinstance(members, list):
        raise ValueError("the document is no JWK Set: it has no list of keys")  # noqa: TRY004 - the text is wrong
    return PublicKeys(key for member in members[:MAX_KEYS] if (key := _usable(member)) is not None)


def _usable(member: object) -> VerificationKey | None:
    if not isinstance(member, dict):
        return None
    try:
        return VerificationKey.from_public_jwk(member)
    except ValueError:
        return None
