"""Identifiers in canonical form."""

from __future__ import annotations

import uuid

import pytest

from domain.ids import is_id, new_id

ID = "01a22c17-b6cc-780e-9f7c-84d183ae7b71"


def test_a_new_id_is_one() -> None:
    assert is_id(new_id())


@pytest.mark.parametrize("text", [ID, str(uuid.UUID(int=0)), "93c1be0f-468c-4cc7-b9b0-ab1c569ded88"])
def test_any_uuid_in_canonical_form_is_one(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID.upper(),
        ID.replace("-", ""),
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        f"{ID}\n",
        f" {ID}",
        ID[:-1],
        ID.replace("0", "٠"),
        ID.replace("b7", "_7"),
    ],
)
def test_what_is_not_in_canonical_form_is_none(text: str) -> None:
    assert not is_id(text)
