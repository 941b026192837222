"""How requests name what they are about."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from litestar.openapi.spec import Example
from litestar.params import ParameterKwarg, PathParameter, QueryParameter

from domain.ids import WRITTEN_ID
from domain.order_numbers import WRITTEN
from runtime.cursors import WRITTEN_CURSOR

_SOME_ID: Final = "01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"
_SOME_CURSOR: Final = "AZMrXnwafk6cPS9tG4pMVQ"


def _id(whose: str) -> ParameterKwarg:
    return PathParameter(
        description=f"The {whose}'s id.",
        examples=[Example(value=_SOME_ID)],
        schema_extra={"pattern": f"^{WRITTEN_ID}$"},  # as below
    )


ProductId: TypeAlias = Annotated[str, _id("product")]
UserId: TypeAlias = Annotated[str, _id("account")]
SessionId: TypeAlias = Annotated[str, _id("session")]
PaymentId: TypeAlias = Annotated[str, _id("payment")]

Cursor: TypeAlias = Annotated[
    str,
    QueryParameter(
        description="The page before's `next_cursor`; empty for the first page.",
        examples=[Example(value=_SOME_CURSOR)],
        schema_extra={"pattern": f"^({WRITTEN_CURSOR})?$"},
    ),
]

OrderReference: TypeAlias = Annotated[
    str,
    PathParameter(
        description="The order's id, or its number, however it is written.",
        examples=[
            Example(summary="id", value=_SOME_ID),
            Example(summary="number", value="7KQ2-M9XD"),
        ],
        # documented alone: `Violations.check_order` checks it, and has better words
        schema_extra={"pattern": f"^({WRITTEN_ID}|{WRITTEN})$"},
    ),
]
