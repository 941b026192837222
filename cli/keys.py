"""Keys of access tokens, shown as those who verify want them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runtime.settings import SettingsError
from runtime.tokens import read_private_key, to_jwk_set


def public_keys(private_keys: Sequence[Path]) -> str:
    """The JWK set of the public halves of these keys.

    Raises:
        SettingsError: a file holds no Ed25519 private key in PEM.
    """
    return to_jwk_set(*(read_private_key(_read(path), name=str(path)).public_key() for path in private_keys))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
