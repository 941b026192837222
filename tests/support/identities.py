"""Certificates for every part and keys for users' tokens, made once per test process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from domain.ids import new_id
from runtime.caller import Caller, CallerRole
from runtime.identity import Credentials, Part
from runtime.permissions import READERS
from runtime.tokens import TokenSigner, TokenVerifier, to_jwk_set
from sandbox.certificates import CertificateAuthority, Certificates

_KEY: Final = Ed25519PrivateKey.generate()
PRIVATE_PEM: Final = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC_KEYS: Final = to_jwk_set(_KEY.public_key())
VERIFIER: Final = TokenVerifier(PUBLIC_KEYS)
TOKEN_LIFE: Final = 3_600
"""Seconds: longer than the suite takes."""


@cache
def authority() -> CertificateAuthority:
    """The CA that all parts trust."""
    return CertificateAuthority()


@cache
def certificates() -> Certificates:
    """A certificate for every part, of one CA."""
    folder = Path(tempfile.mkdtemp(prefix="ordersaga-certificates-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return authority().issue_all(folder)


def tls_settings() -> dict[str, Any]:
    """The settings that any part needs to call or to be called, and to know users."""
    made = certificates()
    return {
        "tls_ca_file": made.ca_file,
        "tls_certificate_file": made.certificate_file,
        "tls_key_file": made.key_file,
        "jwt_public_keys": PUBLIC_KEYS,
    }


@cache
def credentials(part: Part) -> Credentials:
    """Those of the part."""
    made = certificates()
    ca, certificate, key = (
        Path(file.replace("{part}", part.value)) for file in (made.ca_file, made.certificate_file, made.key_file)
    )
    return Credentials(part, ca=ca, certificate=certificate, key=key)


@cache
def signed_in(caller: Caller) -> Caller:
    """The same user, with a token that proves it; who is no user has none."""
    if caller.role not in READERS or caller.token:
        return caller
    return replace(caller, token=sign(caller))


def sign(caller: Caller, *, ttl: float = TOKEN_LIFE) -> str:
    """A token for the user; a ttl below zero makes one that has expired."""
    return TokenSigner(PRIVATE_PEM, ttl=ttl).sign(caller).text


def bearer(role: CallerRole, user_id: str | None = None, *, ttl: float = TOKEN_LIFE) -> dict[str, str]:
    """The header with a token of that role."""
    return {"Authorization": f"Bearer {sign(Caller(role, user_id or new_id()), ttl=ttl)}"}


def guest_bearer(order_id: str) -> dict[str, str]:
    """The header with the token of whoever placed the order as a guest."""
    return {"Authorization": f"Bearer {sign(Caller(CallerRole.GUEST, new_id(), order_id=order_id))}"}


def forged_bearer() -> dict[str, str]:
    """The header with an admin's token that somebody else signed."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {"Authorization": f"Bearer {TokenSigner(pem, ttl=60).sign(Caller(CallerRole.ADMIN, new_id())).text}"}
