"""The embedded stack's secrets: made at the first start, the same at every later one, worthless anywhere else."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Self

import msgspec

from runtime.tokens import make_private_key, read_private_key, to_jwk_set
from sandbox.errors import StackError
from sandbox.files import write_private


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The secrets that the components of one stack share.

    Attributes:
        jwt_private_key: Ed25519, PEM (PKCS 8).
        admin_password: of the first admin account.
    """

    stripe_api_key: str
    stripe_webhook_secret: str
    jwt_private_key: str
    admin_password: str
    # missing in secrets from before there was SMS; a new one at each start will do for those
    twilio_auth_token: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))

    @property
    def jwt_public_keys(self) -> str:
        """The JWK set with the public half of the key."""
        return to_jwk_set(read_private_key(self.jwt_private_key, name="jwt_private_key").public_key())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read them from the file, which is made, readable for this user only, when it is not there.

        Raises:
            StackError: the file is there and does not fit.
        """
        if path.exists():
            try:
                return msgspec.json.decode(path.read_bytes(), type=cls)
            except msgspec.DecodeError as error:
                raise StackError(f"{path}: {error}. Remove the file to get new secrets.") from error
        made = cls._make()
        write_private(path, msgspec.json.format(msgspec.json.encode(made)).decode())
        return made

    @classmethod
    def _make(cls) -> Self:
        return cls(
            stripe_api_key=f"sk_test_sandbox_{secrets.token_hex(16)}",
            stripe_webhook_secret=f"whsec_sandbox_{secrets.token_hex(24)}",
            jwt_private_key=make_private_key(),
            admin_password=secrets.token_urlsafe(18),
        )
