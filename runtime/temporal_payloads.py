"""Payloads in Temporal's histories: JSON as the SDK's own converter writes it, read and written by msgspec.

The wire stays what it was, encoding ``json/plain`` and keys in order, so histories of all versions replay, and the Web
UI and other SDKs read them. What the saga says is dataclasses of plain values, which the SDK would take to pieces and
put together again in Python, field by field, for each step of each order (docs/decisions/0031).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    CompositePayloadConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
)

_ENCODING: Final = "json/plain"
_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_UNTYPED: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()
_MOST_TYPES: Final = 512
"""Types that decoders are kept for: each workflow that runs in the SDK's sandbox may bring its own."""


class JsonPayloadConverter(EncodingPayloadConverter):
    """``json/plain``; what msgspec can neither write nor read is left to the SDK's converter."""

    def __init__(self) -> None:
        self._sdks = JSONPlainPayloadConverter()

    @property
    def encoding(self) -> str:
        """See `EncodingPayloadConverter`."""
        return _ENCODING

    def to_payload(self, value: Any) -> Payload | None:
        """See `EncodingPayloadConverter`.

        Raises:
            TypeError: it is nothing that JSON has.
        """
        try:
            data = _ENCODER.encode(value)
        except (TypeError, ValueError, OverflowError):
            return self._sdks.to_payload(value)
        return Payload(metadata={"encoding": _ENCODING.encode()}, data=data)

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See `EncodingPayloadConverter`.

        Raises:
            RuntimeError: it is no JSON.
            TypeError: it is not of that type.
        """
        decoder = _decoder(type_hint) if type_hint is not None else _UNTYPED
        if decoder is None:
            return self._sdks.from_payload(payload, type_hint)
        try:
            return decoder.decode(payload.data)
        except msgspec.ValidationError as error:
            raise TypeError(f"Failed converting to {type_hint}: {error}") from None
        except msgspec.DecodeError as error:
            raise RuntimeError("Failed parsing") from error


class PayloadConverter(CompositePayloadConverter):
    """The SDK's default converters, with ours for JSON."""

    def __init__(self) -> None:  # the SDK makes one for each activation
        super().__init__(*_CONVERTERS)


_CONVERTERS: Final = tuple(
    JsonPayloadConverter() if isinstance(converter, JSONPlainPayloadConverter) else converter
    for converter in DefaultPayloadConverter.default_encoding_payload_converters
)


@lru_cache(maxsize=_MOST_TYPES)
def _decoder(type_hint: type) -> msgspec.json.Decoder[Any] | None:
    """Reads JSON as this type; None where msgspec does not know how."""
    try:
        return msgspec.json.Decoder(type_hint)
    except TypeError:
        return None
