"""Between protobuf messages and our own values: fields of the same name, converted by their types.

Enums go by their names: the member ``SUCCEEDED`` of a `StrEnum` is ``REFUND_STATUS_SUCCEEDED`` of protobuf's. Moments
are aware datetimes on our side. Text that is not there is empty on the wire and None on ours; what else may be missing
is an optional field or a message. A field without a counterpart on the other side is left out.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel

Member = TypeVar("Member", bound=StrEnum)
AnyMessage = TypeVar("AnyMessage", bound=Message)
Made = TypeVar("Made")

Convert = Callable[[Any], Any]
Field = Any
"""A FieldDescriptor, of which protobuf's stubs know two unrelated types."""


class EnumMapping(Generic[Member]):
    """An enum of ours and one of protobuf's, member by member.

    Args:
        ours: the enum.
        theirs: the descriptor of protobuf's.

    Raises:
        LookupError: a member of ours is not on the wire.
    """

    def __init__(self, ours: type[Member], theirs: EnumDescriptor) -> None:
        prefix = _prefix(theirs)
        numbers = {value.name.removeprefix(prefix): value.number for value in theirs.values}
        missing = [member.name for member in ours if member.name not in numbers]
        if missing:
            raise LookupError(f"enum {theirs.full_name} lacks {', '.join(missing)}")
        self._to_proto = {member: numbers[member.name] for member in ours}
        self._from_proto = {number: member for member, number in self._to_proto.items()}

    def to_proto(self, member: Member) -> int:
        """Its number on the wire."""
        return self._to_proto[member]

    def from_proto(self, number: int) -> Member | None:
        """The member of this number; None where it is unspecified, or newer than we are."""
        return self._from_proto.get(number)


@cache
def enum_mapping(ours: type[Member], theirs: EnumDescriptor) -> EnumMapping[Member]:
    """The mapping of the two, made once."""
    return EnumMapping(ours, theirs)


def to_timestamp(moment: datetime) -> Timestamp:
    """An aware datetime on the wire."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def from_timestamp(stamp: Timestamp) -> datetime:
    """A moment from the wire, aware, in UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def to_proto(kind: type[AnyMessage], value: object, /, **others: Any) -> AnyMessage:
    """A message with the value's fields; `others` are set as they stand, or left out where they are None.

    Raises:
        LookupError: a member of an enum is not on the wire.
    """
    given = {name: other for name, other in others.items() if other is not None}
    for name, convert in _writers(kind):  # type: ignore[arg-type]  # its stubs hide that a class is hashable
        if name not in others and (found := getattr(value, name, None)) is not None:
            given[name] = convert(found)
    return kind(**given)


def from_proto(kind: Callable[..., Made], message: Message, /, **others: Any) -> Made:
    """A dataclass, `Value` or msgspec Struct made of the message's fields of the same name, and of `others`.

    Raises:
        ValueError: an enum has a value that we do not know.
    """
    readers = _readers(kind, type(message))  # type: ignore[arg-type]  # as above
    return kind(**{name: read(message) for name, read in readers if name not in others}, **others)


@cache
def _writers(kind: Any) -> Sequence[tuple[str, Convert]]:
    return [(field.name, _writer(field)) for field in kind.DESCRIPTOR.fields]


def _writer(field: Field) -> Convert:
    if _is_map(field):
        return dict
    one = _one_writer(field)
    return (lambda values: [one(value) for value in values]) if field.is_repeated else one


def _one_writer(field: Field) -> Convert:
    if field.enum_type is not None:
        theirs = field.enum_type
        return lambda member: _number(member, theirs)
    if field.message_type is None:
        return lambda value: value
    if field.message_type.full_name == Timestamp.DESCRIPTOR.full_name:
        return to_timestamp
    kind = GetMessageClass(field.message_type)
    return lambda value: to_proto(kind, value)


@cache
def _readers(kind: Any, message: Any) -> Sequence[tuple[str, Convert]]:
    theirs = message.DESCRIPTOR.fields_by_name
    return [(name, _reader(theirs[name], hint)) for name, hint in _hints(kind).items() if name in theirs]


def _reader(field: Field, hint: Any) -> Convert:
    name, is_optional, ours = field.name, _is_optional(hint), _without_none(hint)
    if _is_map(field):
        return lambda message: dict(getattr(message, name))
    if field.is_repeated:
        collect, one = (tuple if get_origin(ours) is tuple else list), _one_reader(field, get_args(ours)[0])
        return lambda message: collect(one(item) for item in getattr(message, name))
    one = _one_reader(field, ours)
    if field.has_presence and is_optional:
        return lambda message: one(getattr(message, name)) if message.HasField(name) else None
    if is_optional:
        return lambda message: one(getattr(message, name)) if getattr(message, name) else None
    return lambda message: one(getattr(message, name))


def _one_reader(field: Field, ours: Any) -> Convert:
    if field.enum_type is not None:
        theirs, mapping = field.enum_type, enum_mapping(ours, field.enum_type)
        return lambda number: _known(mapping.from_proto(number), number, theirs)
    if field.message_type is None:
        return lambda value: value
    if ours is datetime:
        return from_timestamp
    return lambda value: from_proto(ours, value)


def _is_map(field: Field) -> bool:
    """Whether it is a map, of which protobuf makes messages; ours are of text to text."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _number(member: StrEnum, theirs: EnumDescriptor) -> int:
    return enum_mapping(type(member), theirs).to_proto(member)


def _known(member: StrEnum | None, number: int, theirs: EnumDescriptor) -> StrEnum:
    if member is None:
        raise ValueError(f"{number} is no value of {theirs.full_name} that we know")
    return member


def _hints(kind: Callable[..., Any]) -> Mapping[str, Any]:
    """Types of the fields that the class is made of, by name."""
    hints = get_type_hints(kind)
    if is_dataclass(kind):
        return {field.name: hints[field.name] for field in fields(kind) if field.init}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: hints[name] for name in kind.model_fields}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {name: hints[name] for name in kind.__struct_fields__}
    raise TypeError(f"{kind!r} is neither a dataclass nor a Value nor a Struct")


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def _without_none(hint: Any) -> Any:
    if not _is_optional(hint):
        return hint
    [ours] = [each for each in get_args(hint) if each is not type(None)]
    return ours


def _prefix(theirs: EnumDescriptor) -> str:
    """What the names of an enum's values begin with: its first one is called ``<PREFIX>UNSPECIFIED``."""
    return theirs.values[0].name.removesuffix("UNSPECIFIED")
