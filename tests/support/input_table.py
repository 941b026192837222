"""Bad requests, generated from an OpenAPI document: for every operation, whatever its inputs may not be.

A route that is added to the document gets its cases by itself. Each case differs from a good request in one place, and
names the field that the answer must name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from enum import StrEnum
from typing import Final

from tests.support.input_values import HUGE, INT64, Bound, Kind, Schema, Schemas, encode

SOME_ID: Final = "01932b5e-7c1a-7e4e-9c3d-2f6d1b8a4c55"
METHODS: Final = ("get", "put", "post", "patch", "delete")


class Token(StrEnum):
    """Who asks."""

    NOBODY = "nobody"
    CUSTOMER = "customer"
    ADMIN = "admin"
    GARBAGE = "garbage"
    EXPIRED = "expired"
    FORGED = "forged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One bad request. `field` is what the answer must name; None where it names none."""

    operation: str
    method: str
    path: str
    kind: Kind
    field: str | None
    statuses: frozenset[int]
    token: Token
    query: Mapping[str, str] = attribute(default_factory=dict)
    headers: Mapping[str, str] = attribute(default_factory=dict)
    content: bytes | None = None
    detail: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.operation, self.field, self.kind, self.detail) if part)


class InputTable:
    """Every case of a document."""

    def __init__(self, document: Schema) -> None:
        self.schemas = Schemas(document)
        self.operations: Mapping[str, tuple[str, str, Schema]] = {
            operation["operationId"]: (method, path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if method in METHODS
        }

    def cases(self) -> Iterator[Case]:
        """All cases, in the document's order."""
        for name, (method, path, operation) in self.operations.items():
            yield from _Operation(self, name, method, path, operation).cases()

    def bounds(self) -> Iterator[Bound]:
        """What the cases must cover, read off the document without what makes the cases."""
        for name, (_, _, operation) in self.operations.items():
            for schema in self.bodies(operation):
                yield from self.schemas.bounds(name, "", schema)
            for parameter in operation.get("parameters", []):
                yield from self.schemas.bounds(name, parameter["name"], parameter["schema"])

    def bodies(self, operation: Schema) -> list[Schema]:
        """The kinds of JSON body that an operation takes."""
        content = operation.get("requestBody", {}).get("content", {})
        kinds = self.schemas.kinds(content["application/json"]["schema"]) if "application/json" in content else []
        return [kind for kind in kinds if "properties" in kind]  # what is taken as it is has none


def is_secured(operation: Schema) -> bool:
    """Whether nobody may ask for it without a token."""
    security = operation.get("security", [])
    return bool(security) and {} not in security


class _Operation:
    """One operation, and a good request to it that the cases spoil."""

    def __init__(self, table: InputTable, name: str, method: str, path: str, operation: Schema) -> None:
        self._schemas = table.schemas
        self._name = name
        self._method = method
        self._path = path
        self._operation = operation
        self._parameters = operation.get("parameters", [])
        self._bodies = table.bodies(operation)
        self._is_secured = is_secured(operation)
        words = operation.get("description", "")
        self._is_for_staff = "Admins only" in words or "Staff only" in words

    def cases(self) -> Iterator[Case]:
        yield from self._token_cases()
        for parameter in self._parameters:
            match parameter["in"]:
                case "path":
                    yield from self._path_cases(parameter)
                case "query":
                    yield from self._query_cases(parameter)
                case "header":
                    yield from self._header_cases(parameter)
        if self._bodies:
            yield from self._body_cases()

    def _token_cases(self) -> Iterator[Case]:
        if not self._is_secured:
            return
        yield self._case(Kind.NO_TOKEN, None, statuses={401}, token=Token.NOBODY)
        for token in (Token.GARBAGE, Token.EXPIRED, Token.FORGED):
            yield self._case(Kind.BAD_TOKEN, None, statuses={401}, token=token, detail=token.value)
        if self._is_for_staff:
            yield self._case(Kind.WRONG_ROLE, None, statuses={403}, token=Token.CUSTOMER)

    def _path_cases(self, parameter: Schema) -> Iterator[Case]:
        name = parameter["name"]
        for kind, value in (
            (Kind.WRONG_TYPE, "7"),
            (Kind.PATTERN, SOME_ID.upper()),
            (Kind.PATTERN, f"{SOME_ID}%0a"),
            (Kind.PATTERN, "%00"),
            (Kind.TOO_LONG, SOME_ID * 100),
            (Kind.OVERFLOW, str(10**40)),
        ):
            yield self._case(kind, name, path=self._path_with(name, value), detail=value[:40])

    def _query_cases(self, parameter: Schema) -> Iterator[Case]:
        name, kind = parameter["name"], self._schemas.kinds(parameter["schema"])[0]
        values: list[tuple[Kind, str]] = []
        if kind["type"] == "integer":
            values += [(Kind.WRONG_TYPE, text) for text in ("x", "1.5", "true", "")]
            values += [(Kind.BELOW, str(int(kind.get("minimum", 0)) - 1)), (Kind.ABOVE, str(int(kind["maximum"]) + 1))]
            values += [(Kind.OVERFLOW, text) for text in (str(INT64), str(-INT64 - 1), str(10**40), "1e400")]
        else:
            values += [(Kind.PATTERN, "\x00"), (Kind.TOO_LONG, "x" * 10_000)]
            if not re.search(kind.get("pattern", "^$"), "surprise"):
                values.append((Kind.PATTERN, "surprise"))
        for fault, text in values:
            yield self._case(fault, name, query={name: text}, detail=text[:40])

    def _header_cases(self, parameter: Schema) -> Iterator[Case]:
        name = parameter["name"]
        if "pattern" in parameter["schema"]:
            yield self._case(Kind.PATTERN, name, headers={name: "\x7f"})
        if parameter.get("required"):
            yield self._case(Kind.MISSING, None, headers={name: None}, detail=name)
        if "minLength" in parameter["schema"] or parameter.get("required"):
            yield self._case(Kind.TOO_SHORT, name, headers={name: ""})
        if "maxLength" in parameter["schema"] or parameter.get("required"):
            yield self._case(Kind.TOO_LONG, name, headers={name: "x" * 10_000})

    def _body_cases(self) -> Iterator[Case]:
        good = encode(self._schemas.good(self._bodies[0]))
        yield self._case(Kind.NO_JSON, None, content=b"", detail="empty")
        yield self._case(Kind.NO_JSON, None, content=good[:-1], detail="cut off")
        yield self._case(Kind.NO_JSON, None, content=good.replace(b'"', b'"\xff', 1), detail="no UTF-8")
        yield self._case(Kind.NO_JSON, None, content=b"[" * 50_000, detail="deep")
        yield self._case(Kind.NO_JSON, None, statuses={415}, headers={"Content-Type": "text/plain"}, detail="text")
        yield self._case(Kind.TOO_LONG, None, statuses={413}, content=good + b" " * (1 << 21), detail="body")
        for body in self._bodies:
            for fault in self._schemas.faults(body, ""):
                value = fault.value
                detail = repr(value)[:40] if fault.kind in (Kind.OVERFLOW, Kind.WRONG_TYPE) else ""
                # a number that no float holds breaks the JSON itself
                field = None if HUGE in repr(value) else fault.field or "body"
                yield self._case(fault.kind, field, content=encode(value), detail=detail)

    def _case(
        self,
        kind: Kind,
        field: str | None,
        *,
        statuses: set[int] | None = None,
        token: Token | None = None,
        path: str | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str | None] | None = None,
        content: bytes | None = None,
        detail: str = "",
    ) -> Case:
        if content is None and self._bodies:
            content = encode(self._schemas.good(self._bodies[0]))
        given: dict[str, str | None] = {
            parameter["name"]: SOME_ID
            for parameter in self._parameters
            if parameter["in"] == "header" and parameter.get("required")
        }
        if self._bodies:
            given["Content-Type"] = "application/json"
        given.update(headers or {})
        role = Token.ADMIN if self._is_for_staff else Token.CUSTOMER
        return Case(
            operation=self._name,
            method=self._method.upper(),
            path=path or self._path_with("", ""),
            kind=kind,
            field=field,
            statuses=frozenset(statuses or {400}),
            token=token or (role if self._is_secured else Token.NOBODY),
            query=query or {},
            headers={name: value for name, value in given.items() if value is not None},
            content=content,
            detail=detail,
        )

    def _path_with(self, name: str, value: str) -> str:
        path = self._path
        for parameter in self._parameters:
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", value if parameter["name"] == name else SOME_ID)
        return path
