"""Postal addresses by country."""

from __future__ import annotations

import re

import pytest

from runtime.postal_addresses import COUNTRIES, address_rules, find_address_faults


def faults(country: str, *, city: str = "", region: str = "", postal_code: str = "") -> dict[str, str]:
    return dict(find_address_faults(country=country, city=city, region=region, postal_code=postal_code))


def test_the_countries_are_those_of_iso_3166() -> None:
    assert len(COUNTRIES) == 249 + len({"AC", "TA", "XK"})
    assert all(re.fullmatch("[A-Z]{2}", country) for country in COUNTRIES)
    assert {"DE", "HK", "US", "SS", "BQ"} <= COUNTRIES
    assert not {"ZZ", "UK", "EU", "AN", "XX"} & COUNTRIES


@pytest.mark.parametrize("country", sorted(COUNTRIES))
def test_each_country_has_rules_that_its_own_examples_fit(country: str) -> None:
    rules = address_rules(country)

    region = rules.region_examples.partition(", ")[0] or "Somewhere"
    code = rules.postal_code_example or "1"
    assert faults(country, city="Town", region=region, postal_code=code) == {}


@pytest.mark.parametrize(
    ("country", "address"),
    [
        ("HK", {"region": "Kowloon"}),
        ("HK", {"region": "九龍", "city": "Tsim Sha Tsui", "postal_code": "000000"}),
        ("US", {"city": "Springfield", "region": "IL", "postal_code": "62704"}),
        ("US", {"city": "Springfield", "region": "illinois", "postal_code": "62704-1234"}),
        ("DE", {"city": "Berlin", "postal_code": "10115", "region": "Berlin"}),
        ("GB", {"city": "London", "postal_code": "ec1y 8sy", "region": "Greater London"}),
        ("IE", {"city": "Dublin"}),
        ("JP", {"region": "東京都", "postal_code": "100-0001"}),
        ("AE", {"region": "Dubai"}),
        ("SG", {"postal_code": "546080"}),
        ("MO", {}),
    ],
)
def test_an_address_is_taken_as_its_country_writes_it(country: str, address: dict[str, str]) -> None:
    assert faults(country, **address) == {}


@pytest.mark.parametrize(
    ("country", "address", "wrong"),
    [
        ("US", {}, {"city", "region", "postal_code"}),
        ("US", {"city": "Springfield", "region": "Ontario", "postal_code": "62704"}, {"region"}),
        ("US", {"city": "Springfield", "region": "IL", "postal_code": "K1A 0B1"}, {"postal_code"}),
        ("US", {"city": "Springfield", "region": "IL", "postal_code": "٦٢٧٠٤"}, {"postal_code"}),
        ("GB", {"city": "London", "postal_code": "GIR"}, {"postal_code"}),
        ("HK", {"city": "Kowloon"}, {"region"}),
        ("DE", {"city": " ", "postal_code": "1011"}, {"city", "postal_code"}),
    ],
)
def test_what_does_not_fit_the_country_is_named(country: str, address: dict[str, str], wrong: set[str]) -> None:
    assert faults(country, **address).keys() == wrong


def test_a_fault_says_how_to_mend_it() -> None:
    assert faults("US", city="Springfield", postal_code="?") == {
        "region": "is missing; addresses in US need one, for example AL, AK, AS",
        "postal_code": "must be a postal code of US, for example 95014",
    }
