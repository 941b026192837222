"""Access tokens: JWTs (RFC 7519) signed with Ed25519 (RFC 8037). The user service signs, the gateway verifies."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from domain.ids import is_id, new_id
from runtime.caller import Caller, CallerRole
from runtime.settings import SettingsError

ISSUER: Final = "ordersaga"
_ALGORITHM: Final = "EdDSA"
_TOKEN_ROLES: Final = (CallerRole.CUSTOMER, CallerRole.ADMIN)


class InvalidToken(Exception):
    """A token that proves nothing; the message says why and may be shown to whoever sent it."""


class ExpiredToken(InvalidToken):
    """A token of ours whose time is over."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token and the moment from which it is refused."""

    text: str
    expires_at: datetime


class TokenSigner:
    """Signs access tokens that live `ttl` seconds.

    Raises:
        SettingsError: the key is no Ed25519 private key in PEM.
    """

    def __init__(self, private_key_pem: str, *, ttl: float) -> None:
        self._key = _private_key(private_key_pem)
        self._ttl = ttl

    def sign(self, caller: Caller) -> SignedToken:
        """A token for a customer or an admin; each has an id (`jti`) of its own."""
        issued_at = int(time.time())
        expires_at = issued_at + math.ceil(self._ttl)
        claims = {
            "iss": ISSUER,
            "sub": caller.id,
            "role": caller.role.value,
            "iat": issued_at,
            "exp": expires_at,
            "jti": new_id(),
        }
        text = jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        return SignedToken(text, datetime.fromtimestamp(expires_at, UTC))


class TokenVerifier:
    """Verifies access tokens.

    Raises:
        SettingsError: the key is no Ed25519 public key in PEM.
    """

    def __init__(self, public_key_pem: str) -> None:
        self._key = _public_key(public_key_pem)

    def verify(self, token: str) -> Caller:
        """Who the token was signed for.

        Raises:
            ExpiredToken: its time is over.
            InvalidToken: it is forged, or no token of ours.
        """
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                # iat is not checked: a signer whose clock is a little ahead must not lock its customers out
                options={"require": ["sub", "role", "iat", "exp", "iss", "jti"], "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise ExpiredToken("the token has expired") from None
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            raise InvalidToken("the token was not signed by this shop") from None
        # RecursionError: a header of brackets inside brackets is parsed before any signature is looked at
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise InvalidToken("the token is malformed") from None
        role, user_id = claims["role"], claims["sub"]
        if role not in _TOKEN_ROLES or not is_id(user_id):
            raise InvalidToken("the token is malformed")
        return Caller(CallerRole(role), user_id)


def _private_key(pem: str) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError("ORDERSAGA_JWT_PRIVATE_KEY: must be an Ed25519 private key in PEM, without a passphrase")
    return key


def _public_key(pem: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError("ORDERSAGA_JWT_PUBLIC_KEY: must be an Ed25519 public key in PEM")
    return key
