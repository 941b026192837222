"""Form parameters as Stripe reads them: bracket nesting, typed values, and errors that name the parameter.

All of these are checked before a call executes, so that none of their errors is stored under an idempotency key.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl

from sandbox.stripe.errors import ApiError, invalid

Choice = TypeVar("Choice", bound=StrEnum)

_MAX_TEXT = 5_000
_MAX_METADATA_PAIRS, _MAX_METADATA_KEY, _MAX_METADATA_VALUE = 50, 40, 500


class Params:
    """The parameters of one call; each is taken once, and `finish` refuses those that nobody took.

    `api_version` is the one that the caller speaks, such as ``2026-10-28.endive``.
    """

    def __init__(self, encoded: bytes, *, api_version: str) -> None:
        self.api_version = api_version
        try:
            pairs = parse_qsl(encoded.decode(), keep_blank_values=True, max_num_fields=1_000)
        except ValueError as error:
            raise invalid(f"Invalid request body: {error}") from None
        self._values = dict(pairs)
        self._left = set(self._values)
        # Unsorted arrays ("a[]=1&a[]=2") keep their order and their repetitions here only.
        self._pairs = pairs

    @property
    def fingerprint(self) -> str:
        """The same for the same parameters, whatever their order."""
        return hashlib.sha256(repr(sorted(self._pairs)).encode()).hexdigest()

    def text(self, name: str, *, limit: int = _MAX_TEXT) -> str | None:
        """A string.

        Raises:
            ApiError: 400 when it is empty or longer than `limit`.
        """
        self._left.discard(name)
        value = self._values.get(name)
        if value == "":
            raise invalid(
                f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a field; "
                f"however '{name}' cannot be unset.",
                code="parameter_invalid_empty",
                param=name,
            )
        if value is not None and len(value) > limit:
            raise invalid(f"Invalid string: at most {limit} characters are allowed", param=name)
        return value

    def clearable_text(self, name: str, *, limit: int = _MAX_TEXT) -> str | None:
        """A string that may be empty, which removes the one that there is.

        Raises:
            ApiError: 400 when it is longer than `limit`.
        """
        if self._values.get(name) != "":
            return self.text(name, limit=limit)
        self._left.discard(name)
        return ""

    def integer(self, name: str, *, least: int = 0, most: int = 2**63 - 1) -> int | None:
        """A whole number between two bounds.

        Raises:
            ApiError: 400 ``parameter_invalid_integer``.
        """
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,19}", value):
            raise invalid(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
        number = int(value)
        if not least <= number <= most:
            raise invalid(
                f"This value must be between {least} and {most}.", code="parameter_invalid_integer", param=name
            )
        return number

    def boolean(self, name: str) -> bool | None:
        """``true`` or ``false``.

        Raises:
            ApiError: 400 when it is something else.
        """
        value = self.text(name)
        if value not in (None, "true", "false"):
            raise invalid(f"Invalid boolean: {value}", param=name)
        return None if value is None else value == "true"

    def choice(self, name: str, choices: type[Choice]) -> Choice | None:
        """One of an enum's values.

        Raises:
            ApiError: 400 with the values that are possible.
        """
        value = self.text(name)
        if value is None:
            return None
        try:
            return choices(value)
        except ValueError:
            raise invalid(f"Invalid {name}: must be one of {', '.join(choices)}", param=name) from None

    def array(self, name: str) -> list[str]:
        """The strings given as ``name[0]``, ``name[1]`` or ``name[]``."""
        pattern = re.compile(rf"{re.escape(name)}\[[0-9]*\]")
        items = [(key, value) for key, value in self._pairs if pattern.fullmatch(key)]
        self._left.difference_update(key for key, _ in items)
        return [value for _, value in items]

    def metadata(self) -> dict[str, str]:
        """https://docs.stripe.com/metadata: up to 50 pairs; an empty value is to remove its key.

        Raises:
            ApiError: 400 when there are too many pairs, or a key or value is too long.
        """
        pattern = re.compile(r"metadata\[([^\[\]]+)\]")
        pairs = {match[1]: value for key, value in self._pairs if (match := pattern.fullmatch(key))}
        self._left.difference_update(f"metadata[{key}]" for key in pairs)
        if len(pairs) > _MAX_METADATA_PAIRS:
            raise invalid(f"Metadata can have up to {_MAX_METADATA_PAIRS} keys", param="metadata")
        for key, value in pairs.items():
            if len(key) > _MAX_METADATA_KEY or len(value) > _MAX_METADATA_VALUE:
                raise invalid(
                    f"Metadata keys can have up to {_MAX_METADATA_KEY} characters, values up to {_MAX_METADATA_VALUE}",
                    param=f"metadata[{key}]",
                )
        return pairs

    def finish(self) -> None:
        """Raise ApiError (400 ``parameter_unknown``) when a parameter was given that nobody took."""
        if self._left:
            name = min(self._left)
            raise invalid(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def required(name: str) -> ApiError:
    """The error for a parameter that must be given."""
    return invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)
