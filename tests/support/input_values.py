"""Values for a JSON Schema of ours: one that fits, and each that does not, for one reason."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

Schema = Mapping[str, Any]

SOME_KEY: Final = "key"
"""Of an object whose keys are the client's own."""

INT64: Final = 2**63
HUGE: Final = "<1e400>"
"""Stands in a body for the number 1e400, which Python has no value for."""
BEYOND: Final[tuple[Any, ...]] = (INT64, -INT64 - 1, 10**40, HUGE)


class Kind(StrEnum):
    """What is wrong with a request."""

    WRONG_TYPE = "wrong type"
    MISSING = "missing"
    UNKNOWN = "unknown field"
    TOO_LONG = "too long"
    TOO_SHORT = "too short"
    TOO_MANY = "too many"
    TOO_FEW = "too few"
    BELOW = "below minimum"
    ABOVE = "above maximum"
    OVERFLOW = "overflow"
    PATTERN = "not of its form"
    NO_JSON = "no JSON"
    NO_TOKEN = "no token"
    BAD_TOKEN = "bad token"
    WRONG_ROLE = "wrong role"


KINDS_OF_KEYWORD: Final[Mapping[str, Kind]] = {
    "maxLength": Kind.TOO_LONG,
    "minLength": Kind.TOO_SHORT,
    "maxItems": Kind.TOO_MANY,
    "minItems": Kind.TOO_FEW,
    "maxProperties": Kind.TOO_MANY,
    "minimum": Kind.BELOW,
    "maximum": Kind.ABOVE,
    "pattern": Kind.PATTERN,
}
"""The bounds of JSON Schema, and the case that each must have."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A faulty value in place of a good one."""

    kind: Kind
    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound that the document puts on a field of an operation's body or on one of its parameters."""

    operation: str
    field: str
    kind: Kind


class Schemas:
    """The schemas of a document: what fits them, and what does not."""

    def __init__(self, document: Schema) -> None:
        self._components: Mapping[str, Schema] = document["components"]["schemas"]

    def kinds(self, schema: Schema) -> list[Schema]:
        """What a value may be, null left out, with the bounds that stand beside the choice."""
        if "$ref" in schema:
            return self.kinds(self._components[schema["$ref"].rsplit("/", 1)[-1]])
        if "oneOf" in schema:
            beside = {keyword: value for keyword, value in schema.items() if keyword != "oneOf"}
            kinds = [kind for choice in schema["oneOf"] for kind in self.kinds(choice)]
            return [{**kind, **beside} for kind in kinds if kind.get("type") != "null"]
        return [schema]

    def may_be_null(self, schema: Schema) -> bool:
        """Whether null is a value of it."""
        return any(choice.get("type") == "null" for choice in schema.get("oneOf", ()))

    def good(self, schema: Schema) -> Any:
        """A value that fits."""
        kind = self.kinds(schema)[0]
        for keyword in ("examples", "enum"):
            if kind.get(keyword):
                return kind[keyword][0]
        if "const" in kind:
            return kind["const"]
        match kind.get("type"):
            case "object":
                if "propertyNames" in kind:
                    return {SOME_KEY: self.good(kind["additionalProperties"])}
                return {name: self.good(each) for name, each in kind["properties"].items()}
            case "array":
                return [self.good(kind["items"])] * kind.get("minItems", 1)
            case "integer":
                return int(max(1, kind.get("minimum", 0)))
            case "boolean":
                return True
            case "string":
                return "x" * max(1, kind.get("minLength", 1))
        raise NotImplementedError(f"no good value is known for {schema}")

    def faults(self, schema: Schema, at: str) -> Iterator[Fault]:
        """Every way in which the value there may be wrong."""
        if not self.may_be_null(schema):
            yield Fault(Kind.WRONG_TYPE, at, None)
        kind = self.kinds(schema)[0]
        match kind.get("type"):
            case "object":
                yield Fault(Kind.WRONG_TYPE, at, [])
                yield from self._map_faults(kind, at) if "propertyNames" in kind else self._object_faults(kind, at)
            case "array":
                yield Fault(Kind.WRONG_TYPE, at, {})
                yield from self._array_faults(kind, at)
            case "integer":
                yield from self._integer_faults(kind, at)
            case "boolean":
                yield Fault(Kind.WRONG_TYPE, at, "true")
            case "string":
                yield Fault(Kind.WRONG_TYPE, at, 7)
                yield from self._string_faults(kind, at)
            case unknown:
                raise NotImplementedError(f"no faults are known for type {unknown} of {at}")

    def _object_faults(self, kind: Schema, at: str) -> Iterator[Fault]:
        good = self.good(kind)
        prefix = f"{at}." if at else ""
        yield Fault(Kind.UNKNOWN, f"{prefix}surprise", {**good, "surprise": 1})
        for name, schema in kind["properties"].items():
            if name in kind.get("required", ()):
                without = {other: value for other, value in good.items() if other != name}
                yield Fault(Kind.MISSING, f"{prefix}{name}", without)
            for fault in self.faults(schema, f"{prefix}{name}"):
                yield Fault(fault.kind, fault.field, {**good, name: fault.value})

    def _map_faults(self, kind: Schema, at: str) -> Iterator[Fault]:
        """Of an object with keys of the client's own; a faulty key is named as a fault of the whole."""
        value = self.good(kind["additionalProperties"])
        yield Fault(Kind.TOO_MANY, at, {f"{SOME_KEY}{n}": value for n in range(_bound(kind, "maxProperties", at) + 1)})
        for fault in self._string_faults(kind["propertyNames"], at):
            yield Fault(fault.kind, at, {fault.value: value})
        for fault in self.faults(kind["additionalProperties"], f"{at}.{SOME_KEY}"):
            yield Fault(fault.kind, fault.field, {SOME_KEY: fault.value})

    def _array_faults(self, kind: Schema, at: str) -> Iterator[Fault]:
        item = self.good(kind["items"])
        yield Fault(Kind.TOO_MANY, at, [item] * (_bound(kind, "maxItems", at) + 1))
        if kind.get("minItems"):
            yield Fault(Kind.TOO_FEW, at, [item] * (kind["minItems"] - 1))
        for fault in self.faults(kind["items"], f"{at}[0]"):
            yield Fault(fault.kind, fault.field, [fault.value])

    def _integer_faults(self, kind: Schema, at: str) -> Iterator[Fault]:
        for value in ("7", 1.5, True):
            yield Fault(Kind.WRONG_TYPE, at, value)
        yield Fault(Kind.BELOW, at, _bound(kind, "minimum", at) - 1)
        yield Fault(Kind.ABOVE, at, _bound(kind, "maximum", at) + 1)
        for value in BEYOND:
            yield Fault(Kind.OVERFLOW, at, value)
        if "not" in kind:
            yield Fault(Kind.PATTERN, at, kind["not"]["const"])

    def _string_faults(self, kind: Schema, at: str) -> Iterator[Fault]:
        if "enum" in kind or "const" in kind:
            yield Fault(Kind.PATTERN, at, "surprise")
            return
        yield Fault(Kind.TOO_LONG, at, "x" * (_bound(kind, "maxLength", at) + 1))
        yield Fault(Kind.PATTERN, at, "\x00" * max(1, kind.get("minLength", 1)))
        if kind.get("minLength"):
            yield Fault(Kind.TOO_SHORT, at, "x" * (kind["minLength"] - 1))

    def bounds(self, operation: str, at: str, schema: Schema) -> Iterator[Bound]:
        """The bounds of a value there, read off the document without what makes the faults."""
        if "$ref" in schema:
            schema = self._components[schema["$ref"].rsplit("/", 1)[-1]]
        for keyword, kind in KINDS_OF_KEYWORD.items():
            if keyword in schema:
                yield Bound(operation, at, kind)
        for choice in schema.get("oneOf", ()):
            yield from self.bounds(operation, at, choice)
        if "items" in schema:
            yield from self.bounds(operation, f"{at}[0]", schema["items"])
        if "propertyNames" in schema:
            yield from self.bounds(operation, at, schema["propertyNames"])
            yield from self.bounds(operation, f"{at}.{SOME_KEY}", schema["additionalProperties"])
        for name, each in schema.get("properties", {}).items():
            yield from self.bounds(operation, f"{at}.{name}" if at else name, each)
            if name in schema.get("required", ()):
                yield Bound(operation, f"{at}.{name}" if at else name, Kind.MISSING)


def _bound(kind: Schema, keyword: str, at: str) -> int:
    assert keyword in kind, f"{at or 'the body'} takes what is as large as you like: give it a {keyword}"
    return int(kind[keyword])


def encode(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value).replace(json.dumps(HUGE), "1e400").encode()
