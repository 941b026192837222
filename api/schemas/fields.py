"""What bodies have in common: constrained values, and the base of every request."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from domain.emails import EMAIL, MAX_EMAIL
from domain.ids import WRITTEN_ID
from domain.limits import MAX_METADATA_KEY, MAX_METADATA_KEYS, MAX_METADATA_VALUE
from domain.money import EXPONENTS, MAX_AMOUNT
from domain.texts import NOTHING, PLAIN_LINE, PLAIN_LINE_RULE, PLAIN_LINES, PLAIN_LINES_RULE
from runtime.postal_addresses import COUNTRIES

_NO_NUL: Final = r"^[^\x00]*$"


def text(longest: int, *, shortest: int = 1) -> Meta:
    """Text that nobody is shown: so many characters, none of them NUL, which PostgreSQL cannot store."""
    return Meta(
        min_length=shortest,
        max_length=longest,
        pattern=_NO_NUL,
        description=f"text of {shortest} to {longest} characters, none of them NUL",
    )


def plain_line(longest: int, *, shortest: int = 1) -> Meta:
    """A line of so many characters that other people are shown, see `domain.texts`."""
    return _plain("a line", longest, shortest, PLAIN_LINE, PLAIN_LINE_RULE)


def plain_lines(longest: int, *, shortest: int = 1) -> Meta:
    """The same of text that may have several lines."""
    return _plain("text", longest, shortest, PLAIN_LINES, PLAIN_LINES_RULE)


def _plain(what: str, longest: int, shortest: int, pattern: str, rule: str) -> Meta:
    described = f"{what} of {max(shortest, 1)} to {longest} characters {rule}"
    return Meta(
        min_length=shortest,
        max_length=longest,
        pattern=pattern if shortest else f"{NOTHING}|{pattern}",
        description=described if shortest else f"empty, or {described}",
    )


def whole(smallest: int, largest: int, *, but: int | None = None) -> Meta:
    """A whole number between these, both included, `but` one of them; who takes the number has to refuse that one."""
    extra: dict[str, Any] = {"minimum": smallest}  # Litestar leaves one of 0 out where null is allowed, too
    if but is not None:
        extra["not"] = {"const": but}
    return Meta(
        ge=smallest,
        le=largest,
        description=f"a whole number from {smallest} to {largest}{'' if but is None else f', and not {but}'}",
        extra_json_schema={"extra": extra},
    )


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
        pattern=rf"^{EMAIL}$(?!\n)",
        max_length=MAX_EMAIL,
        description=f"an e-mail address of at most {MAX_EMAIL} characters",
        examples=["customer@example.test"],
        extra_json_schema={"extra": {"format": "email"}},
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
        pattern=f"^({'|'.join(sorted(COUNTRIES))})$",
        max_length=2,
        description="an ISO 3166-1 alpha-2 country code in capitals, for example DE",
        examples=["DE"],
    ),
]

_METADATA_KEY: Final = Meta(
    min_length=1,
    max_length=MAX_METADATA_KEY,
    pattern=rf"^(?!.*[\[\]]){PLAIN_LINE[1:]}",
    description=f"a line of 1 to {MAX_METADATA_KEY} characters without square brackets, {PLAIN_LINE_RULE}",
)
_METADATA_VALUE: Final = plain_line(MAX_METADATA_VALUE, shortest=0)
Metadata = Annotated[
    dict[Annotated[str, _METADATA_KEY], Annotated[str, _METADATA_VALUE]],
    Meta(
        max_length=MAX_METADATA_KEYS,
        description=f"an object of at most {MAX_METADATA_KEYS} keys, with text as their values",
        examples=[{"cart": "web-4711"}],
        # Litestar documents no bounds of objects by itself
        extra_json_schema={
            "extra": {
                "max_properties": MAX_METADATA_KEYS,
                "property_names": {"minLength": 1, "maxLength": MAX_METADATA_KEY, "pattern": _METADATA_KEY.pattern},
                "additional_properties": {
                    "type": "string",
                    "maxLength": MAX_METADATA_VALUE,
                    "pattern": _METADATA_VALUE.pattern,
                },
            }
        },
    ),
]

Amount = Annotated[int, whole(0, MAX_AMOUNT)]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body; a field that it does not have is refused."""


class Empty(Struct, frozen=True):
    """An empty object: all is well."""
