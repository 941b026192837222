"""Keys of access tokens: made, and shown as those who verify want them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from runtime.settings import SettingsError
from runtime.tokens import to_jwk_set


def make_private_key() -> str:
    """A new Ed25519 private key in PEM."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_keys(private_keys: Sequence[Path]) -> str:
    """The JWK set of the public halves of these keys.

    Raises:
        SettingsError: a file holds no Ed25519 private key in PEM.
    """
    return to_jwk_set(*(_read(path).public_key() for path in private_keys))


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path} holds no Ed25519 private key in PEM without a passphrase")
    return key
