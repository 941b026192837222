"""Every text that the gateway takes, read off its OpenAPI document: a new field is found by itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from tests.support.hostile_texts import LONE_SURROGATE
from tests.support.input_table import InputTable
from tests.support.input_values import SOME_KEY, Schema


class Where(StrEnum):
    """Where a text stands."""

    BODY = "body"
    KEY = "key"
    """Of an object in the body whose keys are the client's own."""
    QUERY = "query"
    HEADER = "header"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class TextField:
    """A text that an operation takes; `name` is what a refusal of it must name."""

    operation: str
    route: str
    where: Where
    name: str

    def __str__(self) -> str:
        return f"{self.operation} {self.where} {self.name}"

    def named(self) -> str:
        """What a problem calls it: a faulty key by the object that it is in."""
        return self.name.rpartition(".")[0] if self.where is Where.KEY else self.name


def text_fields(document: Schema) -> Iterator[TextField]:
    """Every text of every operation."""
    table = InputTable(document)
    for name, (method, path, operation) in table.operations.items():
        route = f"{method.upper()} {path}"
        for parameter in operation.get("parameters", []):
            if any(_is_text(kind) for kind in table.schemas.kinds(parameter["schema"])):
                yield TextField(name, route, Where(parameter["in"]), parameter["name"])
        found = {each for body in table.bodies(operation) for each in _texts(table, body, "")}
        for where, at in sorted(found):
            yield TextField(name, route, where, at)


_LISTS: Mapping[str, list[dict[str, Any]]] = {
    "restock": [{"quantity": 1}],
    "adjustments": [{"type": "shipping", "name": "Parcel", "amount": 490}],
}
"""Lists of objects that no good body has: the rest of the one that the text comes into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Where a request has the text, besides its good parts."""

    content: bytes | None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, bytes] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)


def put(text: str, at: TextField, body: Any) -> Parts:
    """The text in its place; of a good body, if there is one."""
    content = None if body is None else encode(body)
    match at.where:
        case Where.QUERY:
            return Parts(content=content, query={at.name: text})
        case Where.HEADER:
            return Parts(content=content, headers={at.name: text.encode()})
        case Where.PATH:
            return Parts(content=content, path={at.name: quote(text, safe="")})
        case _:
            return Parts(content=encode(_replaced(at, text, body)))


def find(at: TextField, text: str, answer: Any) -> str | None:
    """What an answer shows in the field's place; None if it has no such place."""
    found = answer
    for name in at.name.split("."):
        name = text if name == SOME_KEY and at.where is Where.KEY else name
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return text if at.where is Where.KEY else str(found)


def encode(body: Any) -> bytes:
    """As JSON; the surrogate as an escape that no JSON may have."""
    return json.dumps(body).replace(json.dumps(LONE_SURROGATE), '"Ada\\ud800Byron"').encode()


def _replaced(at: TextField, text: str, body: Any) -> Any:
    replaced = copy.deepcopy(body)
    *path, last = at.name.replace("[0]", ".0").split(".")
    inner = replaced
    for name in path:
        if isinstance(inner, list):
            inner = inner[int(name)]
        else:
            inner = inner.setdefault(name, copy.deepcopy(_LISTS.get(name, {})))
    inner[text if at.where is Where.KEY else last] = "value" if at.where is Where.KEY else text
    return replaced


def _texts(table: InputTable, schema: Schema, at: str) -> Iterator[tuple[Where, str]]:
    for kind in table.schemas.kinds(schema):
        if _is_text(kind):
            yield Where.BODY, at
        elif "items" in kind:
            yield from _texts(table, kind["items"], f"{at}[0]")
        elif "propertyNames" in kind:
            yield Where.KEY, f"{at}.{SOME_KEY}"
            yield from _texts(table, kind["additionalProperties"], f"{at}.{SOME_KEY}")
        else:
            for name, each in kind.get("properties", {}).items():
                yield from _texts(table, each, f"{at}.{name}" if at else name)


def _is_text(kind: Mapping[str, Any]) -> bool:
    return kind.get("type") == "string" and "const" not in kind
