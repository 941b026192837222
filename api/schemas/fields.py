"""What bodies have in common: constrained values, and the base of every request."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from domain.emails import MAX_EMAIL
from domain.ids import WRITTEN_ID
from domain.money import EXPONENTS, MAX_AMOUNT


def text(longest: int, *, shortest: int = 1) -> Meta:
    """Text of so many characters, none of them NUL, which PostgreSQL cannot store."""
    return Meta(
        min_length=shortest,
        max_length=longest,
        pattern=r"^[^\x00]*$",
        description=f"text of {shortest} to {longest} characters, none of them NUL",
    )


def whole(smallest: int, largest: int) -> Meta:
    """A whole number between these, both included."""
    return Meta(ge=smallest, le=largest, description=f"a whole number from {smallest} to {largest}")


Id = Annotated[
    str,
    Meta(
        pattern=f"^{WRITTEN_ID}$",
        max_length=36,  # a $ alone would let a line feed pass behind it
        description="a UUID in lower case with hyphens",
        examples=["01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"],
    ),
]

Email = Annotated[
    str,
    Meta(
        pattern=r"^[^@\s\x00]+@[^@\s\x00]+\.[^@\s\x00]+$",
        max_length=MAX_EMAIL,
        description=f"an e-mail address of at most {MAX_EMAIL} characters",
        examples=["customer@example.test"],
    ),
]

Currency = Annotated[
    str,
    Meta(
        pattern=f"^({'|'.join(sorted(EXPONENTS))})$",
        max_length=3,
        description="an ISO 4217 currency code in capitals, for example EUR",
        examples=["EUR"],
    ),
]

Country = Annotated[
    str,
    Meta(
        pattern="^[A-Z]{2}$",
        max_length=2,
        description="an ISO 3166-1 alpha-2 country code in capitals, for example DE",
        examples=["DE"],
    ),
]

Amount = Annotated[int, whole(0, MAX_AMOUNT)]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body; a field that it does not have is refused."""


class Empty(Struct, frozen=True):
    """An empty object: all is well."""
