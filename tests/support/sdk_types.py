"""Holds what a Stripe double shows against the type annotations of the official SDK, which Stripe generates.

Two ways: `find_mismatches` looks at a JSON object, `find_enum_mismatches` at all values that a field of ours may have.
An SDK field that takes some words and, for those still to come, any other is held to the words that it names.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, ClassVar, ForwardRef, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import stripe
from stripe._stripe_object import UntypedStripeObject

# Names that the SDK uses for another class of its own inside annotations.
_ALIASES = {"CardResource": "Card", "DisputeResource": "Dispute"}


def find_mismatches(value: object, kind: type[stripe.StripeObject]) -> Iterator[str]:
    """What of a JSON object does not fit the SDK's class: each a path and what is wrong there.

    A field must be one of the class's, of its type, and null only where that is optional. One that the SDK does not
    mark as optional must be there.
    """
    yield from _object_mismatches(value, kind, kind.__name__)


def find_enum_mismatches(ours: type[msgspec.Struct], kind: type[stripe.StripeObject]) -> Iterator[str]:
    """What a field of ours could hold and the SDK's has no word for: its path and the value."""
    theirs = _annotations(kind)
    for name, hint in typing.get_type_hints(ours).items():
        if name not in theirs or get_origin(hint) is ClassVar:
            continue
        options = _options(theirs[name])
        words = _words(options)
        for part in _options(hint):
            if isinstance(part, type) and issubclass(part, StrEnum) and words:
                yield from (f"{kind.__qualname__}.{name}: {value}" for value in part if value not in words)
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                for nested in _classes(options):
                    yield from find_enum_mismatches(part, nested)


def _object_mismatches(value: object, kind: type[stripe.StripeObject], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    theirs = _annotations(kind)
    yield from (f"{path}.{name}: unknown" for name in value if name not in theirs)
    for name, annotation in theirs.items():
        if name in value:
            yield from _value_mismatches(value[name], annotation, f"{path}.{name}")
        elif NoneType not in _options(annotation):
            yield f"{path}.{name}: missing"


def _value_mismatches(value: object, annotation: object, path: str) -> Iterator[str]:
    options = _options(annotation)
    if Any in options:
        return
    match value:
        case None:
            fits = NoneType in options
        case bool():
            fits = bool in options
        case int():
            fits = int in options or float in options
        case float():
            fits = float in options
        case str():
            words = _words(options)
            fits = value in words if words else str in options
        case list():
            yield from _list_mismatches(value, options, path)
            return
        case _:
            yield from _nested_mismatches(value, options, path)
            return
    if not fits:
        yield f"{path}: {value!r} does not fit {annotation}"


def _list_mismatches(value: list[object], options: tuple[object, ...], path: str) -> Iterator[str]:
    item = next((get_args(option)[0] for option in options if get_origin(option) is list), None)
    if item is None:
        yield f"{path}: is no list"
        return
    for number, element in enumerate(value):
        yield from _value_mismatches(element, item, f"{path}[{number}]")


def _nested_mismatches(value: object, options: tuple[object, ...], path: str) -> Iterator[str]:
    untyped = [option for option in options if get_origin(option) is UntypedStripeObject]
    if untyped and isinstance(value, dict):
        for name, element in value.items():
            yield from _value_mismatches(element, get_args(untyped[0])[0], f"{path}.{name}")
        return
    name = value.get("object") if isinstance(value, dict) else None
    classes = _classes(options)
    named = [kind for kind in classes if getattr(kind, "OBJECT_NAME", None) == name]
    for kind in named or classes[:1]:
        yield from _object_mismatches(value, kind, path)
    if not classes:
        yield f"{path}: {value!r} does not fit {options}"


def _annotations(kind: type[stripe.StripeObject]) -> dict[str, object]:
    found: dict[str, object] = {}
    for base in kind.__mro__:
        if base is stripe.StripeObject:
            break
        for name, annotation in vars(base).get("__annotations__", {}).items():
            if not name.startswith("_") and get_origin(annotation) is not ClassVar:
                found.setdefault(name, annotation)
    return found


def _options(annotation: object) -> tuple[object, ...]:
    """The members of a union, however deep, or else the annotation alone."""
    if get_origin(annotation) in (Union, UnionType):
        return tuple(option for member in get_args(annotation) for option in _options(member))
    if isinstance(annotation, TypeVar):
        return (Any,)
    return (annotation,)


def _words(options: tuple[object, ...]) -> frozenset[str]:
    return frozenset(word for option in options if get_origin(option) is Literal for word in get_args(option))


def _classes(options: tuple[object, ...]) -> list[type[stripe.StripeObject]]:
    kinds = [_resolve(option.__forward_arg__) if isinstance(option, ForwardRef) else option for option in options]
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, stripe.StripeObject)]


def _resolve(name: str) -> object:
    """The class of this name; nothing for those outside the SDK's first level, such as Issuing's."""
    return getattr(stripe, _ALIASES.get(name, name), None)
