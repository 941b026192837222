"""How long texts may be, in characters, and how much one request may ask for: alike at every door of the system."""

from __future__ import annotations

from typing import Final

MAX_IDEMPOTENCY_KEY: Final = 255
MIN_GUEST_KEY: Final = 16
"""Of a guest: their key is a secret, since whoever repeats their request with it is given their token."""
LONGEST_WAIT_SECONDS: Final = 30
"""How long a request may wait for its outcome."""
DEFAULT_WAIT_SECONDS: Final = 2
MAX_PAGE_SIZE: Final = 100
MAX_SEARCH: Final = 100
"""Of a text that is searched for."""
DEFAULT_PAGE_SIZE: Final = 50

MAX_NOTE: Final = 500
"""Of a person, about what they did."""
MAX_ACTION_NOTE: Final = MAX_NOTE + 100
"""Of the same with the person in front of it, where it is kept with what was acted on."""
MAX_PAYMENT_METHOD: Final = 255
"""Of the id of a payment method at Stripe."""
MAX_DISPUTE_ID: Final = 255
"""Of the id of a dispute at Stripe."""

MAX_METADATA_KEYS: Final = 50
MAX_METADATA_KEY: Final = 40
MAX_METADATA_VALUE: Final = 500
"""Of what a shop keeps with an order; as at Stripe, so that it fits there."""

MAX_RECIPIENT: Final = 200
"""Of the name in a postal address."""
MAX_ADDRESS_LINE: Final = 200
MAX_CITY: Final = 100
MAX_REGION: Final = 100
MAX_POSTAL_CODE: Final = 20

MAX_SEQ: Final = 2**31 - 1
"""Of the number of a transition."""
MAX_FOLLOWED: Final = 10_000
"""Orders that one call waits for."""
MAX_CAUSE_ID: Final = 200
"""Of what names the step that caused a transition."""
MAX_REASON: Final = 100
"""Of why an order failed."""
MAX_STEP: Final = 100
"""Of the name of a step that needs attention."""
MAX_ATTENTION_CAUSE: Final = 2_000
"""Of why it needs attention."""

MAX_SUBJECT_ID: Final = 255
"""Of what a concern is about."""
MAX_CONCERNS: Final = 500
"""Of one kind, that one answer lists."""

MAX_PRODUCT_NAME: Final = 200
MAX_ADJUSTMENT_NAME: Final = 100
MAX_DESCRIPTION: Final = 5_000
"""Of a product."""

MAX_USER_NAME: Final = 100
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 128
"""Bounds what one hash costs; far longer than people type."""
MAX_LINK_TOKEN: Final = 100
"""Ours have 64 characters."""
MAX_REFRESH_TOKEN: Final = 255
"""Ours have 43 characters."""
