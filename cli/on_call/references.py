"""Orders by the numbers that people read out, where a command takes an id."""

from __future__ import annotations

from cli.exiting import CommandFailed
from cli.on_call.operator import DEADLINE, Operator, open_operator
from domain.order_numbers import is_written_as_number
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.rpc_client import call
from runtime.settings import Settings


async def to_id(operator: Operator, written: str) -> str:
    """The id that somebody typed, or that of the order whose number it is.

    Raises:
        CommandFailed: no order has this number.
        ServiceUnavailable: the order service, which knows them, does not answer.
    """
    if not is_written_as_number(written):
        return written
    request = pb.GetOrderRequest(order_id=written)
    try:
        return (await call(operator.orders.GetOrder, request, caller=SERVICE, deadline=DEADLINE)).order.id
    except CallRefused as refused:
        raise CommandFailed(refused.message) from None


async def find_id(settings: Settings, written: str) -> str:
    """The same, as the operator whose certificate the settings name; who is asked about numbers alone.

    Raises:
        CommandFailed: no order has this number.
        SettingsError: there is no operator's certificate.
        ServiceUnavailable: the order service does not answer.
    """
    if not is_written_as_number(written):
        return written
    async with open_operator(settings) as operator:
        return await to_id(operator, written)
