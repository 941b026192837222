"""The parts of Ordersaga, and how one process runs one or several of them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final

from runtime.process import ComponentRunner
from runtime.settings import SettingsError

PARTS: Final = {
    "gateway": "api.server:run",
    "user": "services.user.server:run",
    "product": "services.product.server:run",
    "inventory": "services.inventory.server:run",
    "order": "services.order.server:run",
    "payment": "services.payment.server:run",
    "notification": "services.notification.server:run",
    "order-worker": "workers.order_worker:run",
    "relay": "workers.relay.process:run",
}
"""Part to the function that runs it; imported only when named, so that a process carries what it runs."""
OPTIONAL: Final = {"codec-server": "workers.codec.process:run"}
"""What an installation may have besides."""
DOUBLES: Final = {
    "stripe-double": "sandbox.stripe.server:run",
    "mail-sink": "sandbox.mail.server:run",
}
"""What the embedded stack has in place of others' servers."""


class UnknownPart(SettingsError):
    """There is no such part; the message names those that there are."""


def load(names: Sequence[str]) -> dict[str, ComponentRunner]:
    """Import the parts.

    Raises:
        UnknownPart: one of them is none.
    """
    known = {**PARTS, **OPTIONAL, **DOUBLES}
    if unknown := [name for name in names if name not in known]:
        there_are = ", ".join({**PARTS, **OPTIONAL})
        raise UnknownPart(f"no part is called {' or '.join(map(repr, unknown))}; these are: {there_are}")
    return {name: _import(known[name]) for name in names}


def _import(place: str) -> ComponentRunner:
    module, function = place.split(":")
    runner: ComponentRunner = getattr(importlib.import_module(module), function)
    return runner
