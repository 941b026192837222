"""How requests name what they are about."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from litestar.openapi.spec import Example
from litestar.params import PathParameter

from domain.ids import WRITTEN_ID
from domain.order_numbers import WRITTEN

OrderReference: TypeAlias = Annotated[
    str,
    PathParameter(
        description="The order's id, or its number, however it is written.",
        examples=[
            Example(summary="id", value="01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"),
            Example(summary="number", value="7KQ2-M9XD"),
        ],
        # documented alone: `Violations.check_order` checks it, and has better words
        schema_extra={"pattern": f"^({WRITTEN_ID}|{WRITTEN})$"},
    ),
]
