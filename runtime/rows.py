"""Columns and values of a table, defined once: in the SQLModel class that the migrations are made from.

A service's ``tables.py`` has, for each table, a class of columns (``class RefundColumns(SQLModel)``) and the table
itself (``class RefundRow(Base, RefundColumns, table=True)``). A value that the service works with has the same columns,
without a database behind them: ``class Refund(Value, RefundColumns)``. Statements stay plain SQL; where one names all
columns of a table, or their types, it gets them from here: those of a class of columns, where a statement reads or
writes these alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, LiteralString, cast

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import to_instance
from sqlmodel import SQLModel
from sqlmodel._compat import SQLModelConfig
from sqlmodel.main import get_sqlalchemy_type


class Value(SQLModel):
    """A value with the columns of a table: immutable, compared by its fields, made from a row by ``Class(**row)``.

    `model_copy(update=…)` makes a changed one, without checking the changes. A column that the class does not have is
    refused, as is a value of the wrong type (pydantic's ValidationError).
    """

    model_config = SQLModelConfig(frozen=True, extra="forbid")


def columns(kind: type[SQLModel], *, without: Collection[str] = (), of: str = "") -> LiteralString:
    """Names of the columns of a table, or of a class of columns, for a SELECT or an INSERT.

    Args:
        kind: the table, or the class of columns.
        without: what is left out.
        of: the table's alias in the statement.
    """
    prefix = f"{of}." if of else ""
    return ", ".join(f"{prefix}{name}" for name in _names(kind, without))


def parameters(kind: type[SQLModel], *, without: Collection[str] = ()) -> LiteralString:
    """A placeholder for each column, in the order of `columns`, for VALUES."""
    return ", ".join(f"%({name})s" for name in _names(kind, without))


def recordset(kind: type[SQLModel], *, alias: str, without: Collection[str] = ()) -> LiteralString:
    """``alias (name type, …)`` with these columns, to stand behind ``json_to_recordset(…) AS``."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    typed = (
        f"{name} {to_instance(get_sqlalchemy_type(kind.model_fields[name])).compile(dialect=dialect)}"
        for name in _names(kind, without)
    )
    return f"{alias} ({', '.join(typed)})"


def json_object(kind: type[SQLModel], *, without: Collection[str] = (), of: str = "") -> LiteralString:
    """``json_build_object('name', name, …)``: a row as JSON, from which `Value` reads its fields again."""
    prefix = f"{of}." if of else ""
    pairs = (f"'{name}', {prefix}{name}" for name in _names(kind, without))
    return f"json_build_object({', '.join(pairs)})"


def overwrite(table: type[SQLModel], *, without: Collection[str] = ()) -> LiteralString:
    """``name = excluded.name, …``: for ``ON CONFLICT … DO UPDATE SET``; a primary key is never overwritten."""
    names = (column.name for column in _columns(table, without) if not column.primary_key)
    return ", ".join(f"{name} = excluded.{name}" for name in names)


def _names(kind: type[SQLModel], without: Collection[str]) -> Iterator[LiteralString]:
    """The names of the columns but for some.

    Raises:
        LookupError: one of those is no column.
    """
    if "__table__" in vars(kind):
        return (column.name for column in _columns(kind, without))
    if unknown := set(without) - kind.model_fields.keys():
        raise LookupError(f"{kind.__name__} has no column {', '.join(sorted(unknown))}")
    return (name for name in cast("Iterable[LiteralString]", kind.model_fields) if name not in without)


def _columns(table: type[SQLModel], without: Collection[str]) -> Iterator[Column[Any]]:
    """The table's columns but for some.

    Raises:
        LookupError: one of those is no column of the table.
    """
    found = cast("Table", vars(table)["__table__"]).columns
    if unknown := set(without) - set(found.keys()):
        raise LookupError(f"{table.__name__} has no column {', '.join(sorted(unknown))}")
    return (column for column in found if column.name not in without)
