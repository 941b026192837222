"""Access tokens: JWTs (RFC 7519) signed with Ed25519 (RFC 8037).

The user service signs; the gateway and every service that acts for users verify, with the public keys of a JWK set
(RFC 7517). A key's id is its thumbprint (RFC 7638). To change keys without logging anybody out, the set has both for a
while: the old one until the last token that it signed has expired.
"""

from __future__ import annotations

import json
import math
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from domain.ids import is_id, new_id
from domain.users import Role
from runtime.caller import Caller, CallerRole
from runtime.settings import SettingsError

ISSUER: Final = "ordersaga"
_ALGORITHM: Final = "EdDSA"
_KNOWN_TOKENS: Final = 10_000
_TOKEN_ROLES: Final = (CallerRole.GUEST, *(CallerRole(role) for role in Role))


class InvalidToken(Exception):
    """A token that proves nothing; the message says why and may be shown to whoever sent it."""


class ExpiredToken(InvalidToken):
    """A token of ours whose time is over."""


class EndedSession(InvalidToken):
    """A token of ours whose session was ended: logged out, disabled, another role or password."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token and the moment from which it is refused."""

    text: str
    expires_at: datetime


class TokenSigner:
    """Signs access tokens that live `ttl` seconds; one that comes from a session names it (`sid`).

    Raises:
        SettingsError: the key is no Ed25519 private key in PEM.
    """

    def __init__(self, private_key_pem: str, *, ttl: float) -> None:
        self._key = read_private_key(private_key_pem, name="ORDERSAGA_JWT_PRIVATE_KEY")
        self._key_id = key_id(self._key.public_key())
        self._ttl = ttl

    def sign(self, caller: Caller, *, ttl: float | None = None) -> SignedToken:
        """A token for a user, or for a guest and their order (`order`); each has an id (`jti`) of its own.

        Args:
            caller: whom it is for.
            ttl: seconds, in place of the usual life.
        """
        issued_at = int(time.time())
        expires_at = issued_at + math.ceil(self._ttl if ttl is None else ttl)
        claims = {
            "iss": ISSUER,
            "sub": caller.id,
            "role": caller.role.value,
            "iat": issued_at,
            "exp": expires_at,
            "jti": new_id(),
            **({"sid": caller.session} if caller.session else {}),
            **({"order": caller.order_id} if caller.order_id else {}),
        }
        text = jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id})
        return SignedToken(text, datetime.fromtimestamp(expires_at, UTC))


class TokenVerifier:
    """Verifies access tokens.

    A token that was verified once is known until it expires: the signature costs 0.13 ms of CPU, and a customer's
    token comes with each of their requests.

    Args:
        public_keys: a JWK set.
        ended: the sessions whose tokens are refused.

    Raises:
        SettingsError: the keys are no JWK set of Ed25519 public keys.
    """

    def __init__(self, public_keys: str, *, ended: Container[str] = frozenset()) -> None:
        self._keys = _public_keys(public_keys)
        self._ended = ended
        self._known: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    def verify(self, token: str) -> Caller:
        """Who the token was signed for.

        Raises:
            ExpiredToken: its time is over.
            EndedSession: its holder has logged out, or was shut out.
            InvalidToken: it is forged, or no token of ours.
        """
        expires_at, caller = self._known.get(token) or self._read(token)
        if expires_at <= time.time():
            self._known.pop(token, None)
            raise ExpiredToken("the token has expired")
        if caller.session in self._ended:
            self._known.pop(token, None)
            raise EndedSession("the session of this token has ended; log in again")
        self._known[token] = expires_at, caller
        self._known.move_to_end(token)
        if len(self._known) > _KNOWN_TOKENS:
            self._known.popitem(last=False)
        return caller

    def _read(self, token: str) -> tuple[float, Caller]:
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise InvalidToken("the token was not signed by this shop")
            claims = jwt.decode(
                token,
                key,
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
        caller = _caller_of(claims, token)
        if caller is None:
            raise InvalidToken("the token is malformed")
        return float(claims["exp"]), caller


def _caller_of(claims: Mapping[str, Any], token: str) -> Caller | None:
    """Whom the claims are about: a user, or a guest with an order; None where they are about nobody."""
    role, user_id, session, order_id = claims["role"], claims["sub"], claims.get("sid", ""), claims.get("order", "")
    if role not in _TOKEN_ROLES or not is_id(user_id) or not isinstance(session, str) or not isinstance(order_id, str):
        return None
    if is_id(order_id) if role == CallerRole.GUEST else not order_id:
        return Caller(CallerRole(role), user_id, token, session, order_id)
    return None


def key_id(key: Ed25519PublicKey) -> str:
    """The key's JWK thumbprint (RFC 7638)."""
    jwk = {name: _to_jwk(key)[name] for name in ("crv", "kty", "x")}
    return _encode_segment(sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())


def to_jwk_set(*keys: Ed25519PublicKey) -> str:
    """The keys as the setting ORDERSAGA_JWT_PUBLIC_KEYS has them."""
    return json.dumps({"keys": [{**_to_jwk(key), "kid": key_id(key), "alg": _ALGORITHM, "use": "sig"} for key in keys]})


def _to_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": _encode_segment(raw)}


def _encode_segment(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signs_for(private_key_pem: str, public_keys: str) -> bool:
    """Whether what is signed with the private key is taken by those who know the JWK set.

    Raises:
        SettingsError: one of them is none.
    """
    key = read_private_key(private_key_pem, name="ORDERSAGA_JWT_PRIVATE_KEY")
    return key_id(key.public_key()) in _public_keys(public_keys)


def make_private_key() -> str:
    """A new Ed25519 private key in PEM (PKCS 8)."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def read_private_key(pem: str, *, name: str) -> Ed25519PrivateKey:
    """The key.

    Raises:
        SettingsError: it is none; the message begins with the name.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{name}: must be an Ed25519 private key in PEM, without a passphrase")
    return key


def _public_keys(jwk_set: str) -> Mapping[str, Ed25519PublicKey]:
    """The public keys by their ids."""
    problem = "ORDERSAGA_JWT_PUBLIC_KEYS: must be a JWK set of Ed25519 public keys; `ordersaga keys public` prints it"
    try:
        keys = [key.key for key in jwt.PyJWKSet.from_json(jwk_set).keys]
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        raise SettingsError(problem) from None
    if not all(isinstance(key, Ed25519PublicKey) for key in keys):
        raise SettingsError(problem)
    return {key_id(key): key for key in keys}
