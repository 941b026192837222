"""The names of what we publish (design §6)."""

from __future__ import annotations

from typing import Final

ORDER_EVENTS: Final = "order-events"
PAYMENT_EVENTS: Final = "payment-events"
STOCK_EVENTS: Final = "stock-events"
PRODUCT_EVENTS: Final = "product-events"
USER_EVENTS: Final = "user-events"
NOTIFICATION_EVENTS: Final = "notification-events"

TOPICS: Final[tuple[str, ...]] = (
    ORDER_EVENTS,
    PAYMENT_EVENTS,
    STOCK_EVENTS,
    PRODUCT_EVENTS,
    USER_EVENTS,
    NOTIFICATION_EVENTS,
)
DEAD_LETTER_SUFFIX: Final = ".dlq"
CONSUMED: Final[tuple[str, ...]] = (
    *(ORDER_EVENTS, ORDER_EVENTS + DEAD_LETTER_SUFFIX),
    *(USER_EVENTS, USER_EVENTS + DEAD_LETTER_SUFFIX),
)
"""Topics that the notification service reads, and those that it puts aside what it cannot process in."""
ALL_TOPICS: Final[tuple[str, ...]] = tuple(dict.fromkeys((*TOPICS, *CONSUMED)))
"""Every topic that there has to be."""
PARTITIONS: Final = 6
"""Partitions of each topic. Changing it moves keys between partitions and so breaks their order."""
