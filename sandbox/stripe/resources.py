"""What every object of Stripe's API has (https://docs.stripe.com/api): what is stored is what is answered."""

from __future__ import annotations

import secrets
from typing import ClassVar, TypeVar

import msgspec

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def new_id(prefix: str, *, size: int = 24) -> str:
    """A fresh random id in Stripe's form, such as ``pi_3kQ…``."""
    return f"{prefix}_" + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(size))


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What every object has. `noun` is its name in Stripe's error messages, `prefix` starts its ids."""

    noun: ClassVar[str]
    prefix: ClassVar[str]

    id: str
    created: int

    @property
    def list_key(self) -> str | None:
        """What a list of such objects is filtered by."""
        return None


AnyResource = TypeVar("AnyResource", bound=Resource)
