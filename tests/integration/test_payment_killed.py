"""A payment service that is killed leaves behind what one leaves that died in the test's own process.

So the thousands of deaths in `test_payment_failpoints.py`, none of which costs a process, are as good as real ones.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from domain.payments import PaymentStatus
from services.payment.model import NewPayment
from tests.failpoints import Died, Life
from tests.killed_payment_process import Task
from tests.payment_books import Books, read_books
from tests.payment_process import PaymentProcess
from tests.payment_rig import Rig, new_payment, payment_rig, run_sagas


@pytest.fixture
async def rig(databases: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Rig]:
    async with payment_rig(databases["payment"], tmp_path) as made:
        yield made


async def placed(rig: Rig, call: str) -> NewPayment:
    """An order whose payment is to be opened; or was opened and paid, and is to be voided and given back."""
    new = new_payment(payment_method="pm_card_visa")
    if call != "open":
        await rig.service.open(new)
    if call == "give back":
        await rig.service.void(new.order_id)
    return new


async def work_on(rig: Rig, call: str, new: NewPayment, life: Life) -> None:
    parts = PaymentProcess(rig, life).parts
    match call:
        case "open":
            await parts.payments.open(new)
        case "void":
            await parts.payments.void(new.order_id)
        case "give back":
            await run_sagas(parts, new.order_id)


@asynccontextmanager
async def killer() -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.killed_payment_process",
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


def outline(books: Books) -> object:
    """All that is there, but for ids and times."""
    payment = books.payment
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
                (refund.status, refund.stripe_refund_id is not None, refund.generation, refund.saga_open)
                for refund in payment.refunds
            ],
        ),
        books.published,
        [thing["status"] for things in (books.intents, books.charges, books.refunds) for thing in things],
    )


@pytest.mark.parametrize("call", ["open", "void", "give back"])
async def test_a_killed_process_leaves_what_one_that_died_in_here_leaves(rig: Rig, call: str) -> None:
    counting = Life()
    await work_on(rig, call, await placed(rig, call), counting)

    async with killer() as child:
        for acts in range(1, len(counting.acts) + 1):
            died, killed = await placed(rig, call), await placed(rig, call)
            with pytest.raises(Died):
                await work_on(rig, call, died, Life(acts=acts))
            task = Task(dsn=rig.database.dsn, api_base=str(rig.browser.base_url), call=call, payment=killed, acts=acts)
            assert await kill(child, task) == -signal.SIGKILL

            left = await read_books(rig, killed.order_id)
            assert outline(left) == outline(await read_books(rig, died.order_id))
            await work_on(rig, call, killed, Life())
            await run_sagas(rig.parts, killed.order_id)
            books = await read_books(rig, killed.order_id)
            books.check_settled()
            assert books.payment is not None
            assert books.payment.status is PaymentStatus.SUCCEEDED
