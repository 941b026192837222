"""Waking the order's workflow: a signal says that something changed, the payment service's state says what."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, Protocol

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.saga import PAYMENT_CHANGED_SIGNAL, order_workflow_id
from runtime.refusal import Unavailable

_PATIENCE: Final = timedelta(seconds=5)


class SignalUndelivered(Unavailable):
    """The signal may not have arrived; repeat it."""


class OrderSignals(Protocol):
    """Tells an order's workflow of an event."""

    async def payment_changed(self, *, order_id: str, event_id: str) -> None:
        """Signal the order's workflow; one that does not run decides nothing.

        Raises:
            SignalUndelivered: repeat.
        """


class TemporalSignals:
    """`OrderSignals` through Temporal."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def payment_changed(self, *, order_id: str, event_id: str) -> None:
        workflow = self._client.get_workflow_handle(order_workflow_id(order_id))
        try:
            # The limit of the call does not limit how long a lazy client connects.
            async with asyncio.timeout(_PATIENCE.total_seconds() + 1):
                await workflow.signal(PAYMENT_CHANGED_SIGNAL, event_id, rpc_timeout=_PATIENCE)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise SignalUndelivered(f"Temporal: {error.status.name}: {error.message}") from None
        except (RuntimeError, TimeoutError) as error:
            # RuntimeError is how the SDK says that a lazy client could not connect.
            raise SignalUndelivered(f"Temporal: {error or 'no answer'}") from None
