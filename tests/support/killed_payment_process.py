"""``python -m tests.support.killed_payment_process``: a payment service whose process is killed after so many acts.

For each line of JSON on standard input, which says what to do and after how many acts to die, a process is forked that
does it. Its exit status is written to standard output, negative for a signal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import aiohttp
import msgspec
import stripe

from runtime.database import Database
from runtime.settings import Settings
from services.payment.bootstrap import bootstrap
from services.payment.payments.model import NewPayment
from tests.support.failpoints import Lifecycle, MortalDatabase
from tests.support.payment_harness import payment_settings, run_sagas
from tests.support.payment_process import MortalHttp, MortalSagas
from tests.support.saga_recorder import SagaRecorder


class Task(msgspec.Struct, frozen=True):
    """One use case, to be worked on until death."""

    dsn: str
    api_base: str
    call: str
    payment: NewPayment
    acts: int


class KilledLife(Lifecycle):
    """Ends as the operating system ends it: at once, and nothing in the process can do anything about it."""

    def end(self, name: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


async def work_on(task: Task) -> None:
    life = KilledLife(acts=task.acts)
    http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=5))
    async with bootstrap(
        Settings.model_validate(payment_settings(task.dsn, stripe_api_base=task.api_base)),
        database=MortalDatabase(Database(task.dsn, pool_size=2), life),
        stripe_http=MortalHttp(http, life),
        sagas=MortalSagas(SagaRecorder(), life),
    ) as components:
        match task.call:
            case "open":
                await components.payments.open(task.payment)
            case "void":
                await components.payments.void(task.payment.order_id)
            case "give back":
                await run_sagas(components, task.payment.order_id)


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # logs are no answers
            asyncio.run(work_on(msgspec.json.decode(line, type=Task)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
