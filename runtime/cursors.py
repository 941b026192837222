"""Page tokens: where the next page of a list that is sorted by id starts, opaque to clients."""

from __future__ import annotations

import base64
import uuid
from typing import Final

WRITTEN_CURSOR: Final = "[A-Za-z0-9_-]{21}[AQgw]"
"""The form of one as a regular expression: the last letter has two bits of the 128."""


def encode_cursor(item_id: str) -> str:
    """The token of the page after the item."""
    return base64.urlsafe_b64encode(uuid.UUID(item_id).bytes).rstrip(b"=").decode()


def decode_cursor(token: str) -> str:
    """The item that the page comes after.

    Raises:
        ValueError: no token of ours.
    """
    item_id = str(uuid.UUID(bytes=base64.urlsafe_b64decode(f"{token}==")))
    if encode_cursor(item_id) != token:  # the decoder skips letters that it does not know
        raise ValueError("not a page token")
    return item_id
