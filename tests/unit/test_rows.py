"""Columns and values that come from the table."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from sqlalchemy import BigInteger, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from domain.orders import OrderLine
from domain.refunds import RefundStatus
from runtime.database import service_metadata, timestamp
from runtime.rows import Value, columns, json_object, overwrite, parameters, recordset


class Base(SQLModel):
    metadata = service_metadata()


class GiftColumns(SQLModel):
    id: str = Field(sa_type=Uuid(as_uuid=False), primary_key=True)
    status: RefundStatus = Field(sa_type=Text)
    amount: int = Field(sa_type=BigInteger)
    lines: tuple[OrderLine, ...] = Field(sa_type=JSONB)
    at: datetime = timestamp()


class GiftRow(Base, GiftColumns, table=True):
    __tablename__ = "gifts"

    seen: bool


class Gift(Value, GiftColumns):
    @property
    def units(self) -> int:
        return sum(line.quantity for line in self.lines)


ROW = {
    "id": "g1",
    "status": "SUCCEEDED",
    "amount": 5,
    "lines": [{"product_id": "p1", "quantity": 2}],
    "at": "2026-01-01T00:00:00+00:00",
}


def test_sql_names_the_columns_and_types_of_the_table() -> None:
    assert columns(GiftRow, without=["seen"]) == "id, status, amount, lines, at"
    assert columns(GiftRow, without=["id", "lines", "at", "seen"], of="gift") == "gift.status, gift.amount"
    assert parameters(GiftRow, without=["lines", "at", "seen"]) == "%(id)s, %(status)s, %(amount)s"
    assert recordset(GiftRow, alias="gift") == (
        "gift (id UUID, status TEXT, amount BIGINT, lines JSONB, at TIMESTAMP WITH TIME ZONE, seen BOOLEAN)"
    )
    assert json_object(GiftRow, without=["lines", "at", "seen"], of="gifts") == (
        "json_build_object('id', gifts.id, 'status', gifts.status, 'amount', gifts.amount)"
    )
    assert overwrite(GiftRow, without=["lines", "at"]) == (
        "status = excluded.status, amount = excluded.amount, seen = excluded.seen"
    )


def test_a_statement_can_name_the_columns_of_a_value_alone() -> None:
    assert columns(GiftColumns, of="gift") == "gift.id, gift.status, gift.amount, gift.lines, gift.at"
    assert parameters(GiftColumns, without=["lines", "at"]) == "%(id)s, %(status)s, %(amount)s"
    assert recordset(GiftColumns, alias="gift", without=["lines", "at"]) == "gift (id UUID, status TEXT, amount BIGINT)"
    assert json_object(GiftColumns, without=["lines", "at"]) == (
        "json_build_object('id', id, 'status', status, 'amount', amount)"
    )


@pytest.mark.parametrize("kind", [GiftRow, GiftColumns])
def test_a_column_that_is_left_out_has_to_be_there(kind: type[SQLModel]) -> None:
    with pytest.raises(LookupError, match=f"{kind.__name__} has no column sean"):
        columns(kind, without=["sean"])


def test_a_row_of_the_database_or_of_json_makes_a_value_with_our_types() -> None:
    gift = Gift.model_validate(ROW)

    assert gift.status is RefundStatus.SUCCEEDED
    assert gift.lines == (OrderLine("p1", 2),)
    assert gift.at == datetime(2026, 1, 1, tzinfo=UTC)
    assert gift.units == 2


def test_values_are_compared_by_their_fields_and_cannot_be_changed() -> None:
    gift = Gift.model_validate(ROW)

    assert gift == Gift(**gift.model_dump())
    assert gift.model_copy(update={"amount": 6}) != gift
    with pytest.raises(ValidationError, match="frozen"):
        gift.amount = 6


def test_a_column_that_the_value_does_not_know_is_refused() -> None:
    with pytest.raises(ValidationError, match="seen"):
        Gift.model_validate({**ROW, "seen": True})
