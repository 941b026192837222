"""`ordersaga retry`, `resolve`, `repair`, `cancel`, `refund`, `approve-refund`: what operators do, about one or many.

Each is sent to the service that does it, which keeps who did it and why. All may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final

from rich.console import Console
from rich.progress import Progress

from cli.exiting import CommandFailed
from cli.on_call.operator import DEADLINE, Operator, open_operator
from cli.on_call.references import to_id
from cli.on_call.selection import select
from cli.printable import as_markup, printable_json
from domain.concerns import ConcernKind
from domain.money import EXPONENTS, format_money
from domain.orders import OrderStatus
from domain.refunds import RefundStatus
from ordersaga.common.v1.order_line_pb2 import OrderLine
from ordersaga.order.v1 import order_pb2 as pb
from ordersaga.payment.v1 import payment_pb2 as payment_pb
from runtime.caller import SERVICE
from runtime.protos import enum_mapping, from_timestamp
from runtime.refusal import CallRefused, Unavailable
from runtime.rpc_client import call
from runtime.settings import Settings, SettingsError

_AT_ONCE: Final = 8
_WAIT_MS: Final = 5_000
"""How long a cancellation or refund is waited for."""
DECIDABLE: Final = (
    ConcernKind.ORDER,
    ConcernKind.REFUND,
    ConcernKind.DISPUTE,
    ConcernKind.EVENT,
    ConcernKind.MAIL,
)


class State(StrEnum):
    """How an action ended."""

    DONE = "done"
    WAITING = "waiting"
    """It was asked for, and what comes of it is not known yet, or not good."""
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """Nobody answered: repeat it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an action on one thing, in words."""

    id: str
    state: State
    text: str


Act = Callable[[Operator, str], Awaitable[Result]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an operator asks for: an action about these, and those that the query finds."""

    name: str
    act: Act
    ids: Sequence[str]
    query: str | None
    kinds: Sequence[ConcernKind] = (ConcernKind.ORDER,)
    dry_run: bool = False
    as_json: bool = False


async def run(settings: Settings, request: Request) -> Sequence[Result]:
    """Act on each, some at a time, and print what came of it.

    Raises:
        SettingsError: nothing is named, the query is none, or there is no operator's certificate.
        ServiceUnavailable: who finds what the query wants does not answer.
    """
    console = Console(highlight=False, soft_wrap=True)
    async with open_operator(settings) as operator:
        ids = await select(operator, request.ids, request.query, kinds=request.kinds)
        if request.dry_run:
            for each in ids:
                console.print(f"would {request.name} {as_markup(each)}")
            return []
        results = await _act_on_all(operator, ids, request)
    if request.as_json:
        print(printable_json([asdict(result) for result in results]))
    elif not results:
        console.print(f"There is nothing to {request.name}.")
    return results


async def _act_on_all(operator: Operator, ids: Sequence[str], request: Request) -> list[Result]:
    turns = asyncio.Semaphore(_AT_ONCE)
    console = Console(highlight=False, soft_wrap=True, quiet=request.as_json)

    with Progress(console=console, transient=True, disable=len(ids) < 2 or not console.is_terminal) as progress:
        task = progress.add_task(request.name, total=len(ids))

        async def act(each: str) -> Result:
            async with turns:
                result = await _try(request.act, operator, each)
            console.print(f"[{_COLOURS[result.state]}]{result.state:8}[/] {as_markup(each)}  {as_markup(result.text)}")
            progress.advance(task)
            return result

        return await asyncio.gather(*map(act, ids))


async def _try(act: Act, operator: Operator, each: str) -> Result:
    try:
        return replace(await act(operator, await to_id(operator, each)), id=each)
    except CommandFailed as failed:
        return Result(each, State.REFUSED, str(failed))
    except CallRefused as refused:
        why = "; ".join(f"{name} {text}" for name, text in refused.details.items() if text not in refused.message)
        message = refused.message.removeprefix(f"{each}: ")
        return Result(each, State.REFUSED, f"{message}: {why}" if why else message)
    except Unavailable as problem:
        return Result(each, State.UNKNOWN, f"{problem}; repeat it")


_COLOURS: Final = {
    State.DONE: "green",
    State.WAITING: "yellow",
    State.REFUSED: "bold red",
    State.UNKNOWN: "bold red",
}


def retry(note: str) -> Act:
    """Let what stands still run again at once."""

    async def act(operator: Operator, each: str) -> Result:
        request = pb.RetryRequest(subject_id=each, note=note)
        answer = await call(operator.orders.Retry, request, caller=SERVICE, deadline=DEADLINE)
        return Result(each, State.DONE if answer.succeeded else State.WAITING, answer.outcome)

    return act


def resolve(note: str) -> Act:
    """Let it go on without what stands still, which somebody did by hand."""

    async def act(operator: Operator, each: str) -> Result:
        request = pb.ResolveRequest(subject_id=each, note=note)
        answer = await call(operator.orders.Resolve, request, caller=SERVICE, deadline=DEADLINE)
        return Result(each, State.DONE, answer.outcome)

    return act


def repair(note: str) -> Act:
    """Start the saga of an order again."""

    async def act(operator: Operator, each: str) -> Result:
        request = pb.RepairOrderRequest(order_id=each, note=note)
        answer = await call(operator.orders.RepairOrder, request, caller=SERVICE, deadline=DEADLINE)
        return Result(
            each,
            State.DONE,
            "its saga runs again" if answer.started else "its saga runs, or ended by itself: nothing to repair",
        )

    return act


def cancel(note: str) -> Act:
    """Cancel an order, if its payment has not succeeded."""
    statuses = enum_mapping(OrderStatus, pb.OrderStatus.DESCRIPTOR)

    async def act(operator: Operator, each: str) -> Result:
        request = pb.CancelOrderRequest(order_id=each, idempotency_key=f"cancel:{each}", note=note, wait_ms=_WAIT_MS)
        answer = await call(operator.orders.CancelOrder, request, caller=SERVICE, deadline=DEADLINE)
        if answer.accepted_only:
            return Result(each, State.WAITING, f"it was asked for, and is not done yet: see ordersaga order {each}")
        return Result(each, State.DONE, f"{statuses.from_proto(answer.order.status)}")

    return act


def refund(note: str, *, amount: str | None, restock: bool, key: str | None) -> Act:
    """Give money back: so much of it, or all that is left.

    Args:
        note: why.
        amount: in the order's currency, such as ``12.50``; None for all that is left.
        restock: whether all units of the order are put back into stock.
        key: names the refund, so that a repeat is the same one; else it is named after order and amount.
    """
    statuses = enum_mapping(RefundStatus, payment_pb.RefundStatus.DESCRIPTOR)

    async def act(operator: Operator, each: str) -> Result:
        read = pb.GetOrderRequest(order_id=each)
        order = (await call(operator.orders.GetOrder, read, caller=SERVICE, deadline=DEADLINE)).order
        lines = [OrderLine(product_id=item.product_id, quantity=item.quantity) for item in order.items]
        units = None if amount is None else to_minor_units(amount, order.currency)
        request = payment_pb.RequestRefundRequest(
            order_id=each,
            idempotency_key=key or refund_key(each, units),
            amount=units,
            restock=lines if restock else (),
            ordered=lines,
            note=note,
            wait_ms=_WAIT_MS,
        )
        answer = await call(operator.payments.RequestRefund, request, caller=SERVICE, deadline=DEADLINE)
        refund, status = answer.refund, statuses.from_proto(answer.refund.status)
        text = f"refund {refund.id} of {format_money(refund.amount, refund.currency)}: {status}"
        if answer.replayed:
            text += " (asked for before; --key makes another one)"
        is_done = status is RefundStatus.SUCCEEDED
        return Result(each, State.DONE if is_done else State.WAITING, text)

    return act


def approve_refund(note: str, *, amount: str, key: str | None) -> Act:
    """Let somebody else refund so much of an order, once, within a day.

    Args:
        note: why.
        amount: in the order's currency, such as ``12.50``: what the refund may be at most.
        key: names the approval, so that a repeat is the same one; else it is named after order and amount.
    """

    async def act(operator: Operator, each: str) -> Result:
        read = pb.GetOrderRequest(order_id=each)
        order = (await call(operator.orders.GetOrder, read, caller=SERVICE, deadline=DEADLINE)).order
        units = to_minor_units(amount, order.currency)
        request = payment_pb.ApproveRefundRequest(
            order_id=each, idempotency_key=key or f"approval:{each}:{units}", amount=units, note=note
        )
        answer = await call(operator.payments.ApproveRefund, request, caller=SERVICE, deadline=DEADLINE)
        approval = answer.approval
        most, until = format_money(approval.amount, approval.currency), from_timestamp(approval.expires_at)
        another = " (--key gives another one)" if answer.replayed else ""
        if approval.refund_id:
            used = f"approval {approval.id} of {most}: refund {approval.refund_id} has used it{another}"
            return Result(each, State.WAITING, used)
        text = f"approval {approval.id}: somebody else may refund {most} until {until:%Y-%m-%d %H:%M} UTC{another}"
        return Result(each, State.DONE, text)

    return act


def refund_key(order_id: str, units: int | None) -> str:
    """What a refund is named after when nobody names it: the amount in minor units, however it was typed."""
    return f"refund:{order_id}:{'rest' if units is None else units}"


def to_minor_units(amount: str, currency: str) -> int:
    """An amount that somebody typed, in minor units.

    Raises:
        SettingsError: it is none in this currency.
    """
    try:
        units = Decimal(amount).scaleb(EXPONENTS[currency])
        if not units.is_finite() or units != units.to_integral_value() or units <= 0:
            raise ValueError
    except (InvalidOperation, ValueError):
        raise SettingsError(f"{amount!r} is no amount of {currency}, such as {format_money(1_250, currency)}") from None
    return int(units)
