"""What the route of the public keys answers."""

from pydantic import BaseModel, Field

from keyturn.delivery.http.schemas import example_answer


class PublicJwk(BaseModel):
    """A public key (RFC 7517 §4); its kind decides which of the members are there."""

    model_config = example_answer(
        kty="OKP",
        crv="Ed25519",
        x="11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        kid="kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        alg="EdDSA",
        use="sig",
    )

    kty: str
    kid: str = Field(description="The thumbprint of the key (RFC 7638).")
    alg: str = Field(description="The one algorithm that the key is used with.")
    use: str
    crv: str | None = None
    x: str | None = None
    y: str | None = None
    n: str | None = None
    e: str | None = None


class JwkSet(BaseModel):
    """The public keys (RFC 7517 §5)."""

    model_config = example_answer(
        keys=[
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                "alg": "EdDSA",
                "use": "sig",
            }
        ]
    )

    keys: list[PublicJwk]
