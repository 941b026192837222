"""One place in the simulator: an installation, its databases, and the case that it runs at the time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client

from tests.saga.simulator.at_stripe import View
from tests.saga.simulator.databases import CaseDatabases, open_databases
from tests.saga.simulator.installation import Installation, open_installation
from tests.saga.simulator.temporal_calls import TemporalCalls


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What one case after the other has to itself."""

    installation: Installation
    stripe: View
    """Of the order's objects at Stripe."""
    databases: CaseDatabases
    temporal: Client
    calls: TemporalCalls

    @property
    def refused_refunds(self) -> int:
        """How often Stripe refused one of ours because less was left."""
        return sum(transport.refused_refunds for transport in self.installation.transports)

    async def empty(self) -> None:
        """As if nothing had ever happened."""
        for transport in self.installation.transports:
            transport.refused_refunds = 0
        self.calls.workflows = None
        await self.databases.empty()
        self.installation.account.clear()
        self.stripe.forget()


@asynccontextmanager
async def open_slot(dsns: Mapping[str, str], temporal: Client) -> AsyncIterator[Slot]:
    """An installation on these databases, by service.

    Args:
        dsns: service to DSN.
        temporal: a client of the server that runs its workflows.
    """
    calls = TemporalCalls()
    client = calls.client(temporal)
    async with open_databases(dsns) as databases, open_installation(dsns, client) as services:
        view = View(services.account)
        slot = Slot(installation=services, stripe=view, databases=databases, temporal=client, calls=calls)
        await slot.empty()
        with view.kept():
            yield slot
