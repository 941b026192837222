"""What a name may hold: no link."""

from __future__ import annotations

import pytest

from domain.names import holds_address


@pytest.mark.parametrize(
    "name",
    ["Ada Byron", "J.R.R. Tolkien", "O'Brien-Smith", "Zoë Ångström", "St. John", "محمد", "李小龍", "Dr. Ä. 2.", "Ph.D"],
)
def test_a_name_as_people_have_them_holds_no_link(name: str) -> None:
    assert not holds_address(name)


@pytest.mark.parametrize(
    "name",
    [
        "Win at http://shop.example",
        "ftp://x",
        "visit shop.example now",
        "SHOP.EXAMPLE",
        "www.x",
        "ada@example.test",
        "shop．example",
        "bücher.example",
    ],
)
def test_what_a_mail_program_makes_a_link_of_is_found(name: str) -> None:
    assert holds_address(name)
