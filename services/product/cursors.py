"""Page tokens: where the next page of products starts, opaque to clients."""

from __future__ import annotations

import base64
import uuid


def encode_cursor(product_id: str) -> str:
    """The token of the page after the product."""
    return base64.urlsafe_b64encode(uuid.UUID(product_id).bytes).rstrip(b"=").decode()


def decode_cursor(token: str) -> str:
    """The product that the page comes after.

    Raises:
        ValueError: no token of ours.
    """
    product_id = str(uuid.UUID(bytes=base64.urlsafe_b64decode(f"{token}==")))
    if encode_cursor(product_id) != token:  # the decoder skips letters that it does not know
        raise ValueError("not a page token")
    return product_id
