"""A payment service that is killed leaves behind what one leaves that died in the test's own process.

So the thousands of deaths in `test_payment_failpoints.py`, none of which costs a process, are as good as real ones.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import pytest

from domain.payments import PaymentStatus
from services.payment.payments.model import NewPayment
from tests.support.failpoints import Died, Lifecycle
from tests.support.killed_payment_process import Task
from tests.support.payment_harness import PaymentHarness, new_payment, payment_harness, run_sagas
from tests.support.payment_ledger import Ledger, read_ledger
from tests.support.payment_process import payment_process


@pytest.fixture
async def harness(databases: Mapping[str, str]) -> AsyncIterator[PaymentHarness]:
    """One whose Stripe another process reaches, too."""
    async with payment_harness(databases["payment"], over_http=True) as harness:
        yield harness


async def placed(harness: PaymentHarness, call: str) -> NewPayment:
    """An order whose payment is to be opened; or was opened and paid, and is to be voided and given back."""
    await harness.postpone_follow_ups()  # those of the order before
    new = new_payment(payment_method="pm_card_visa")
    if call != "open":
        await harness.service.open(new)
    if call == "give back":
        await harness.service.void(new.order_id)
    return new


async def work_on(harness: PaymentHarness, call: str, new: NewPayment, life: Lifecycle) -> None:
    async with payment_process(harness, life) as process:
        match call:
            case "open":
                await process.payments.open(new)
            case "void":
                await process.payments.void(new.order_id)
            case "give back":
                await run_sagas(process, new.order_id)


@asynccontextmanager
async def killer() -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.killed_payment_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield child
    await child.communicate(b"")
    assert child.returncode == 0


async def kill(child: asyncio.subprocess.Process, task: Task) -> int:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(msgspec.json.encode(task) + b"\n")
    return int(await child.stdout.readline())


def outline(ledger: Ledger) -> object:
    """All that is there, but for ids and times."""
    payment = ledger.payment
    return (
        payment
        and (
            payment.status,
            payment.intent_id is not None,
            payment.amount_received,
            payment.closing,
            payment.voided,
            payment.generation,
            payment.version,
            payment.amount_refunded,
            [
                (
                    refund.status,
                    refund.stripe_refund_id is not None,
                    refund.generation,
                    refund.saga_open,
                    refund.notified_version,
                )
                for refund in payment.refunds
            ],
        ),
        ledger.published,
        [thing["status"] for things in (ledger.intents, ledger.charges, ledger.refunds) for thing in things],
    )


@pytest.mark.parametrize("call", ["open", "void", "give back"])
async def test_a_killed_process_leaves_what_one_that_died_in_here_leaves(harness: PaymentHarness, call: str) -> None:
    counting = Lifecycle()
    await work_on(harness, call, await placed(harness, call), counting)

    async with killer() as child:
        for acts in range(1, len(counting.acts) + 1):
            died = await placed(harness, call)
            with pytest.raises(Died):
                await work_on(harness, call, died, Lifecycle(acts=acts))
            expected = outline(await read_ledger(harness, died.order_id))
            killed = await placed(harness, call)
            task = Task(
                dsn=harness.database.dsn,
                api_base=str(harness.settings.stripe_api_base),
                call=call,
                payment=killed,
                acts=acts,
            )
            assert await kill(child, task) == -signal.SIGKILL

            left = await read_ledger(harness, killed.order_id)
            assert outline(left) == expected
            await work_on(harness, call, killed, Lifecycle())
            await run_sagas(harness.components, killed.order_id)
            ledger = await read_ledger(harness, killed.order_id)
            ledger.check_settled()
            assert ledger.payment is not None
            assert ledger.payment.status is PaymentStatus.SUCCEEDED
