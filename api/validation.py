"""Decoding of request bodies: strict JSON into Structs, with every violation named at once.

A Struct's fields carry their rule as ``Meta(description=…)``: the same words document the field and say what it must
be when it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import islice
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Self, TypeVar, Union, get_args, get_origin

import msgspec
from litestar.dto import AbstractDTO, DTOConfig
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from api.problems import MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE, VALIDATION, FieldError, ProblemError

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator  # private, but part of AbstractDTO's signature

T = TypeVar("T")

WHOLE_BODY: Final = "body"
"""Stands for the field when the body as a whole is wrong."""

MAX_VIOLATIONS: Final = 2_000
"""Violations named in one answer: both fields of each line of the largest order. The search ends there."""


_EXACT: Final = 2**53
"""Up to here a float that is whole is the number that was written."""


class StrictJson(AbstractDTO[T], Generic[T]):
    """How Litestar decodes a handler's `data` under ``dto=StrictJson[NewUser]``."""

    def __class_getitem__(cls, kind: Any) -> type[Self]:
        # Litestar's own refuses unions, because it maps fields; nothing is mapped here
        return type(f"{cls.__name__}[{kind}]", (cls,), {"config": DTOConfig(), "model_type": kind})

    @classmethod
    def create_for_field_definition(cls, *_: Any, **__: Any) -> None:
        """Litestar's own decoding is not used, so nothing is prepared for it."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        return schema_creator.for_field_definition(field_definition)

    def decode_bytes(self, value: bytes) -> T:
        require_json(self.asgi_connection.headers.get("content-type", ""))
        return decode(value, self.model_type)


def require_json(content_type: str) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        ProblemError: UNSUPPORTED_MEDIA_TYPE.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, "Send the body as Content-Type: application/json.")


def decode(body: bytes, kind: type[T]) -> T:
    """The body as a `kind`; numbers in strings and unknown fields do not pass.

    Raises:
        ProblemError: MALFORMED_JSON, or VALIDATION naming each field that does not fit.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        value = _parse(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        violations = list(islice(_find_field_errors(value, kind, ""), MAX_VIOLATIONS))
        violations = violations or [FieldError(WHOLE_BODY, str(error))]
        more = " and maybe more" if len(violations) == MAX_VIOLATIONS else ""
        detail = f"{len(violations)} field(s){more} are wrong; see errors."
        raise ProblemError(VALIDATION, detail, violations=violations) from None


def _parse(body: bytes) -> object:
    try:
        return _with_whole_numbers(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None


def _with_whole_numbers(value: object) -> object:
    """The value with 2 for 2.0: to JSON Schema, and to JavaScript, they are one number."""
    match value:
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        case list():
            return [_with_whole_numbers(each) for each in value]
        case dict():
            return {name: _with_whole_numbers(each) for name, each in value.items()}
        case _:
            return value


def _malformed(error: Exception) -> ProblemError:
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return ProblemError(MALFORMED_JSON, f"The body could not be read: {reason}")


def _find_field_errors(value: object, kind: Any, field: str) -> Iterator[FieldError]:
    """Every violation of a parsed JSON value, found field by field, because msgspec stops at the first."""
    kind = kind if value is None else _without_null(kind)
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if tagged := _tagged(bare):
        yield from _find_tagged_errors(value, tagged, field)
    elif isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        yield from _find_object_errors(value, bare, field)
    elif get_origin(bare) is list and isinstance(value, list):
        if not _fits([None] * len(value), Annotated[list[Any], *kind.__metadata__]):
            yield FieldError(field, _rule(kind))
        for index, item in enumerate(value):
            yield from _find_field_errors(item, get_args(bare)[0], f"{field}[{index}]")
    elif get_origin(bare) is dict and isinstance(value, dict):
        yield from _find_map_errors(value, kind, field)
    elif not _fits(value, kind):
        yield FieldError(field, _rule(kind))


def _find_map_errors(value: dict[str, object], kind: Any, field: str) -> Iterator[FieldError]:
    """The violations of an object with keys of the client's own."""
    key_kind, value_kind = get_args(get_args(kind)[0])
    if not _fits(dict.fromkeys(value), Annotated[dict[Any, Any], *kind.__metadata__]):
        yield FieldError(field, _rule(kind))
    for key, each in value.items():
        if _fits(key, key_kind):
            yield from _find_field_errors(each, value_kind, f"{field}.{key}")
        else:
            yield FieldError(field, f"each of its keys {_rule(key_kind)}")


def _find_tagged_errors(value: object, kinds: Mapping[str, type[msgspec.Struct]], field: str) -> Iterator[FieldError]:
    """The violations of an object whose kind stands in a field of its own."""
    tag_field = next(iter(kinds.values())).__struct_config__.tag_field
    if not isinstance(value, dict):
        yield FieldError(field or WHOLE_BODY, "must be a JSON object")
        return
    tag = value.get(tag_field)
    if isinstance(tag, str) and tag in kinds:
        yield from _find_object_errors(value, kinds[tag], field)
        return
    rule = f"must be {' or '.join(kinds)}"
    yield FieldError(
        f"{field}.{tag_field}" if field else str(tag_field), rule if tag_field in value else f"is missing; {rule}"
    )


def _without_null(kind: Any) -> Any:
    """What a field is that may be null, where it is not."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    members = [member for member in get_args(kind) if member is not NoneType]
    return members[0] if len(members) == 1 else kind


def _tagged(kind: Any) -> Mapping[str, type[msgspec.Struct]]:
    """The kinds of a tagged union, by tag; nothing when `kind` is none."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    return {
        str(member.__struct_config__.tag): member
        for member in members
        if isinstance(member, type) and issubclass(member, msgspec.Struct) and member.__struct_config__.tag is not None
    }


def _find_object_errors(value: object, kind: type[msgspec.Struct], field: str) -> Iterator[FieldError]:
    if not isinstance(value, dict):
        yield FieldError(field or WHOLE_BODY, _rule(kind))
        return
    prefix = f"{field}." if field else ""
    known = {each.encode_name: each for each in msgspec.structs.fields(kind)}
    for name in value:
        if name not in known and name != kind.__struct_config__.tag_field:
            yield FieldError(f"{prefix}{name}", "is not a field of this request")
    for name, each in known.items():
        if name in value:
            yield from _find_field_errors(value[name], each.type, f"{prefix}{name}")
        elif each.required:
            yield FieldError(f"{prefix}{name}", f"is missing; {_rule(each.type)}")


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _rule(kind: Any) -> str:
    """What a field must be, in the words that document it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "must be a JSON object"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return f"must be {' or '.join(kind)}"
    for part in (kind, *get_args(kind)):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.description:
                return f"must be {meta.description}"
    return "must fit its type"
