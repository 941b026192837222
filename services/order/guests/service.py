"""Use cases of guests.

A guest's order is known by a customer of its own, who is no account. It becomes an account's when that account's holder
is known to read mails to the guest's address: looked for once when the order is new, and again when an address is
confirmed. The payment follows first, so that whoever dies in between leaves an order that is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from domain.emails import normal_email
from domain.ids import new_id
from domain.order_numbers import parse_order_number
from domain.orders import GUEST_TOKEN_SECONDS, OrderStatus
from ordersaga.notification.v1 import notification_pb2
from ordersaga.payment.v1 import payment_pb2
from ordersaga.user.v1 import user_pb2
from runtime.caller import SERVICE
from runtime.clock import Clock
from runtime.database import Database
from runtime.due_work import Claimed
from runtime.due_worker import Record
from runtime.protos import from_timestamp
from runtime.rpc_client import ServiceUnavailable, call
from services.order.guests.model import GuestLinkRequest, GuestOfOrder, GuestOrder, GuestToken
from services.order.guests.repository import GuestRepository
from services.order.model import Order
from services.order.peers import DEADLINE, Peers
from services.order.repository import OrderRepository
from services.order.service import OrderService

log = structlog.stdlib.get_logger(__name__)

_LOOK_AGAIN: Final = timedelta(seconds=5)
"""Until an order has its payment: a payment that is opened afterwards would be the guest's again."""


class Guests:
    """People who order without an account.

    Args:
        database: the order database.
        orders: where orders are read.
        peers: the other services.
        clock: says how long ago an order has ended.
        on_look_due: called when an account has to be looked for.
        on_link_due: called when a link has to be mailed.
    """

    def __init__(
        self,
        database: Database,
        orders: OrderService,
        peers: Peers,
        *,
        clock: Clock,
        on_look_due: Callable[[], None],
        on_link_due: Callable[[], None],
    ) -> None:
        self._database = database
        self._on_look_due = on_look_due
        self._on_link_due = on_link_due
        self._orders = orders
        self._peers = peers
        self._clock = clock

    async def find_token(self, order: Order) -> GuestToken | None:
        """As `_issue_token`; None, too, while the user service is away: the order is worth an answer without it."""
        try:
            return await self._issue_token(order)
        except ServiceUnavailable as problem:
            log.warning("order.guest_token_missing", order_id=order.id, problem=str(problem))
            return None

    async def describe(self, order_id: str) -> GuestOfOrder:
        """Who placed the order, for a mail about it that is being written.

        Raises:
            OrderNotFound: there is no such order.
            ServiceUnavailable: the user service is away.
        """
        order = await self._orders.get(order_id, caller=SERVICE)
        if not order.is_guest:
            return GuestOfOrder(user_id=order.user_id)
        if order.guest_email is None:
            return GuestOfOrder()
        async with self._database.autocommit() as connection:
            name = await GuestRepository(connection).find_name(order_id)
        token = await self._issue_token(order)
        return GuestOfOrder(email=order.guest_email, name=name, token="" if token is None else token.text)

    async def request_link(self, request: GuestLinkRequest) -> None:
        """Let a link be mailed to the guest of that order, if the address is theirs; that is looked up afterwards."""
        async with self._database.autocommit() as connection:
            await GuestRepository(connection).request_link(new_id(), request)
        self._on_link_due()

    async def process_link_request(self, claimed: Claimed[GuestLinkRequest]) -> Record:
        """Have the link mailed; see `runtime.due_worker`. Nobody hears whether there is such an order.

        Raises:
            ServiceUnavailable: the notification service is away.
        """
        order = await self._find_order(claimed.item)
        if order is not None and self._seconds_left(order) > 0:
            request = notification_pb2.SendGuestLinkRequest(
                request_id=claimed.key, order_id=order.id, order_number=order.number, user_id=order.user_id
            )
            await call(self._peers.notifications.SendGuestLink, request, caller=SERVICE, deadline=DEADLINE)
        return partial(self._end_link_request, claimed)

    async def adopt_orders(self, email: str) -> None:
        """Look once more for an account that has this address: its holder is now known to read mails there."""
        async with self._database.autocommit() as connection:
            orders = await GuestRepository(connection).make_due(email)
        if orders:
            log.info("order.guests_found", orders=orders)
            self._on_look_due()

    async def process_look(self, claimed: Claimed[GuestOrder]) -> timedelta | Record:
        """Let the account that has the guest's address have the order, if there is one; see `runtime.due_worker`.

        Raises:
            ServiceUnavailable: the user or the payment service is away.
        """
        order = claimed.item
        if order.status is OrderStatus.RECEIVED:
            return _LOOK_AGAIN
        look = user_pb2.FindConfirmedUserRequest(email=order.email)
        found = await call(self._peers.users.FindConfirmedUser, look, caller=SERVICE, deadline=DEADLINE)
        if not found.user_id:
            return partial(self._set_looked, claimed)
        adopt = payment_pb2.AdoptPaymentRequest(order_id=order.order_id, user_id=found.user_id)
        await call(self._peers.payments.AdoptPayment, adopt, caller=SERVICE, deadline=DEADLINE)
        return partial(self._adopt, claimed, found.user_id)

    async def _issue_token(self, order: Order) -> GuestToken | None:
        """A token for the order, which lives for as long as a guest may follow it; None once they may not."""
        seconds = self._seconds_left(order)
        if seconds <= 0:
            return None
        request = user_pb2.IssueGuestTokenRequest(order_id=order.id, guest_id=order.user_id, seconds=seconds)
        answer = await call(self._peers.users.IssueGuestToken, request, caller=SERVICE, deadline=DEADLINE)
        return GuestToken(text=answer.token, expires_at=from_timestamp(answer.expires_at))

    def _seconds_left(self, order: Order) -> int:
        """How long a guest may still follow the order, at least; it may end later."""
        since = timedelta() if order.closed_at is None else self._clock() - order.closed_at
        return GUEST_TOKEN_SECONDS - max(int(since.total_seconds()), 0)

    async def _find_order(self, request: GuestLinkRequest) -> Order | None:
        """The order, if the address is that of the guest who placed it."""
        number = parse_order_number(request.order_number)
        async with self._database.autocommit() as connection:
            repository = OrderRepository(connection)
            order_id = None if number is None else await repository.find_id(number)
            order = None if order_id is None else await repository.get(order_id)
        if order is None or order.guest_email is None:
            return None
        return order if normal_email(order.guest_email) == normal_email(request.email) else None

    async def _end_link_request(self, claimed: Claimed[GuestLinkRequest]) -> bool:
        async with self._database.autocommit() as connection:
            if not await GuestRepository(connection).end_link_request(claimed):
                log.warning("order.guest_link_claim_lost", request_id=claimed.key)
        return False

    async def _set_looked(self, claimed: Claimed[GuestOrder]) -> bool:
        async with self._database.autocommit() as connection:
            if not await GuestRepository(connection).set_looked(claimed):
                log.info("order.guest_claim_lost", order_id=claimed.key)
        return False

    async def _adopt(self, claimed: Claimed[GuestOrder], user_id: str) -> bool:
        async with self._database.autocommit() as connection:
            if await GuestRepository(connection).adopt(claimed, user_id=user_id):
                log.info("order.adopted", order_id=claimed.key, user_id=user_id)
            else:
                log.info("order.guest_claim_lost", order_id=claimed.key)
        return False
