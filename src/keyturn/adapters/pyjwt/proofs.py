"""DPoP proofs (RFC 9449): who holds which key, and which proofs have been used."""

import hashlib
import json
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

from keyturn.adapters.pyjwt.compact_jws import (
    CompactParts,
    RejectedToken,
    read_json_object,
    sign,
    split,
    verify,
)
from keyturn.adapters.pyjwt.key_ring import SigningTokenKeys, VerificationKey
from keyturn.adapters.pyjwt.signed_claims import Claims, expect, moment, text
from keyturn.domain.errors import InvalidProof, ProofNonceRequired, ProofsBusy
from keyturn.domain.policies import MAX_CLOCK_SKEW
from keyturn.domain.secret import Secret
from keyturn.ports.proofs import CheckedProof, Proof, ProofChecker

PROOF_TYP = "dpop+jwt"
"""The header `typ` of a proof (RFC 9449 §4.2)."""

NONCE_TYP = "dpop-nonce+jwt"
"""The header `typ` of the nonces that are handed out, which no token has."""

PROOF_LIFETIME: Final = timedelta(seconds=60)
"""How old a proof may be; its clock may be ahead by `MAX_CLOCK_SKEW`."""

NONCE_LIFETIME: Final = timedelta(minutes=5)
"""How old a nonce may be."""

MAX_REMEMBERED = 100_000
"""Proofs that are fresh at one time; about 20 MB."""

MAX_JTI_LENGTH = 256

_HEADER = frozenset({"alg", "jwk", "typ"})
# RFC 9864 gives EdDSA with Ed25519 a name of its own, which newer clients use.
_SPELLINGS = {"EdDSA": "EdDSA", "Ed25519": "EdDSA", "ES256": "ES256", "RS256": "RS256"}

# What a public key consists of, and how many characters each may have: 4096 bits of RSA. A larger
# key, or a larger exponent, would cost whoever verifies more than whoever sends it.
_PUBLIC_MEMBERS = {"kty": 3, "crv": 16, "x": 43, "y": 43, "n": 683, "e": 4}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PATH_CHARACTERS = "/:@!$&'()*+,;="


class PyJwtProofChecker(ProofChecker):
    """Takes proofs of ES256, EdDSA and RS256 keys, and remembers in this process which it took.

    Another process does not know of them: there, a proof can be used once more while it is fresh.
    It is still good for nothing but the same request with the same token.
    """

    def __init__(
        self,
        keys: SigningTokenKeys,
        *,
        asks_for_nonce: bool = False,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        """Take proofs.

        Args:
            keys: sign nonces, so that one that another worker handed out is good here.
            asks_for_nonce: whether a proof must hold one.
            max_remembered: fresh proofs at one time; beyond it, no further one is taken.
        """
        self._keys = keys
        self._asks_for_nonce = asks_for_nonce
        self._max_remembered = max_remembered
        self._seen: set[bytes] = set()
        self._forget_at: list[tuple[datetime, bytes]] = []

    def check(
        self, proof: Proof, now: datetime, access_token: Secret | None = None
    ) -> CheckedProof:
        try:
            return self._checked(proof, now, access_token)
        except RejectedToken:
            pass
        # Raised out here, the error has no context that could hold a part of the proof.
        raise InvalidProof

    def use(self, checked: CheckedProof, now: datetime) -> None:
        # Nothing is awaited between the look and the note: of two requests one is first.
        while self._forget_at and self._forget_at[0][0] <= now:
            self._seen.discard(heappop(self._forget_at)[1])
        # One that has expired would be forgotten at once, and could be used again.
        if checked.digest in self._seen or checked.expires_at <= now:
            raise InvalidProof
        # To forget one that is fresh would let it in again.
        if len(self._seen) >= self._max_remembered:
            raise ProofsBusy
        self._seen.add(checked.digest)
        heappush(self._forget_at, (checked.expires_at, checked.digest))

    async def nonce(self, now: datetime) -> str:
        payload = json.dumps({"iat": int(now.timestamp())}, separators=(",", ":"))
        return await sign(payload.encode(), NONCE_TYP, self._keys.signer)

    def _checked(self, proof: Proof, now: datetime, access_token: Secret | None) -> CheckedProof:
        key, claims = _signed(proof.text.reveal())
        issued_at = _require_made_for(claims, proof, now, access_token)
        jti = text(claims, "jti")
        if not 0 < len(jti) <= MAX_JTI_LENGTH:
            raise RejectedToken
        if self._asks_for_nonce and not self._is_fresh_nonce(claims, now):
            raise ProofNonceRequired
        digest = hashlib.sha256(f"{key.kid} {jti}".encode()).digest()
        if digest in self._seen:
            raise RejectedToken
        return CheckedProof(key.kid, digest, issued_at + PROOF_LIFETIME)

    def _is_fresh_nonce(self, claims: Claims, now: datetime) -> bool:
        try:
            signed = verify(text(claims, "nonce"), self._keys.find)
            if signed.typ != NONCE_TYP:
                return False
            issued_at = moment(read_json_object(signed.payload), "iat")
        except RejectedToken:
            return False
        return now - NONCE_LIFETIME < issued_at <= now + MAX_CLOCK_SKEW


def _signed(presented: str) -> tuple[VerificationKey, Claims]:
    """Return the key that the proof shows and has signed it, and what the proof says."""
    parts = split(presented)
    if parts.header.keys() != _HEADER or parts.header["typ"] != PROOF_TYP:
        raise RejectedToken
    key = _key_of(parts)
    if not key.verifies(parts.signing_input, parts.signature):
        raise RejectedToken
    return key, read_json_object(parts.payload())


def _key_of(parts: CompactParts) -> VerificationKey:
    jwk, algorithm = parts.header["jwk"], parts.header["alg"]
    if not isinstance(jwk, dict) or jwk.keys() & _PRIVATE_MEMBERS:
        raise RejectedToken
    members = {name: jwk[name] for name in _PUBLIC_MEMBERS if name in jwk}
    for name, value in members.items():
        if not isinstance(value, str) or len(value) > _PUBLIC_MEMBERS[name]:
            raise RejectedToken
    try:
        key = VerificationKey.from_public_jwk(members)
    except ValueError:
        raise RejectedToken from None
    # The algorithm follows from the key; what the header says must be a spelling of it.
    if not isinstance(algorithm, str) or _SPELLINGS.get(algorithm) != key.algorithm:
        raise RejectedToken
    return key


def _require_made_for(
    claims: Claims, proof: Proof, now: datetime, access_token: Secret | None
) -> datetime:
    """Return when the proof was made, if it was made for this request (RFC 9449 §4.3)."""
    expect(claims, "htm", proof.method)
    if _normal(text(claims, "htu")) != _normal(proof.url):
        raise RejectedToken
    issued_at = moment(claims, "iat")
    if not now - PROOF_LIFETIME < issued_at <= now + MAX_CLOCK_SKEW:
        raise RejectedToken
    if access_token is not None:
        digest = hashlib.sha256(access_token.reveal().encode()).digest()
        expect(claims, "ath", urlsafe_b64encode(digest).rstrip(b"=").decode())
    return issued_at


def _normal(url: str) -> tuple[str, str, int, str]:
    """Return the parts of a URL that count, as RFC 3986 §6.2.2 and §6.2.3 normalise them.

    Query and fragment count for nothing. Dot segments stay: no client sends a request to them.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        path = quote(unquote_to_bytes(parts.path), safe=_PATH_CHARACTERS)
    except ValueError:
        raise RejectedToken from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise RejectedToken
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], path or "/"
