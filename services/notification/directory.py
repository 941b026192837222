"""What a message needs from other services: who the user is, what the products are called."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from domain.refusals import Refusal
from ordersaga.order.v1.order_pb2 import GetGuestRequest
from ordersaga.order.v1.order_pb2_grpc import OrderServiceStub
from ordersaga.product.v1.product_pb2 import GetProductRequest
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.user.v1.user_pb2 import GetReplacedEmailRequest, GetUserRequest, IssueLinkRequest
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import SERVICE
from runtime.protos import from_timestamp
from runtime.recent import Recent
from runtime.refusal import CallRefused
from runtime.rpc_client import call
from services.notification.errors import MessageNotNeeded, RecipientUnknown, UserNotFound
from services.notification.messenger import Recipient

NAME_SECONDS: Final = 60.0
_MOST_NAMES: Final = 10_000
_CALLS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Somebody with an account, and whether they are known to read mails to their address."""

    recipient: Recipient
    email_confirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MailedLink:
    """A one-time link for a mail that is being written; its token is shown nowhere else."""

    recipient: Recipient
    token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Whom a mail about a guest's order goes to.

    Attributes:
        token: for the mail's link to the order; empty where there is to be none.
    """

    recipient: Recipient
    token: str = field(default="", repr=False)


class Directory:
    """Looks up people, and products of orders that ended before they were priced: others have the names themselves.

    Product names are kept for `NAME_SECONDS` in this process, so a mail may call a product what it was called a minute
    ago. People are asked for each time: their names and addresses are not kept.
    """

    def __init__(
        self,
        *,
        users: UserServiceStub,
        products: ProductServiceStub,
        orders: OrderServiceStub,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users = users
        self._products = products
        self._orders = orders
        self._deadline = deadline
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._names = Recent[str](seconds=NAME_SECONDS, most=_MOST_NAMES, clock=clock)

    async def recipient(self, user_id: str) -> Recipient:
        """As `customer`, whether their address is confirmed or not."""
        return (await self.customer(user_id)).recipient

    async def customer(self, user_id: str) -> Customer:
        """The user's name and e-mail address as they are now.

        Raises:
            RecipientUnknown: there is no such account.
            MessageNotNeeded: its holder was erased.
            ServiceUnavailable: the user service is away.
        """
        try:
            answer = await call(
                self._users.GetUser, GetUserRequest(user_id=user_id), caller=SERVICE, deadline=self._deadline
            )
        except CallRefused as refused:
            if refused.refusal is Refusal.USER_ERASED:
                raise MessageNotNeeded("the account was erased") from None
            raise RecipientUnknown(refused.refusal) from None
        return Customer(
            recipient=Recipient(name=answer.user.name, address=answer.user.email),
            email_confirmed=answer.user.email_confirmed,
        )

    async def guest(self, order_id: str) -> Guest:
        """Who placed an order as a guest, or the account that it has become since.

        Raises:
            MessageNotNeeded: they were erased.
            RecipientUnknown: there is no such order, or no such account.
            ServiceUnavailable: the order or the user service is away.
        """
        request = GetGuestRequest(order_id=order_id)
        try:
            answer = await call(self._orders.GetGuest, request, caller=SERVICE, deadline=self._deadline)
        except CallRefused as refused:
            raise RecipientUnknown(refused.refusal) from None
        if answer.user_id:
            return Guest(recipient=await self.recipient(answer.user_id))
        if not answer.email:
            raise MessageNotNeeded("the guest was erased")
        return Guest(recipient=Recipient(name=answer.name, address=answer.email), token=answer.token)

    async def issue_link(self, link_id: str) -> MailedLink:
        """A token for a link, which only the mail that is being written may hold, and where that mail goes.

        Raises:
            MessageNotNeeded: the link was used, or nobody needs it any more.
            ServiceUnavailable: the user service is away.
        """
        try:
            answer = await call(
                self._users.IssueLink, IssueLinkRequest(link_id=link_id), caller=SERVICE, deadline=self._deadline
            )
        except CallRefused as refused:
            raise MessageNotNeeded(f"its link is not needed any more: {refused.refusal.value}") from None
        return MailedLink(
            recipient=Recipient(name=answer.name, address=answer.email),
            token=answer.token,
            expires_at=from_timestamp(answer.expires_at),
        )

    async def replaced_address(self, link_id: str) -> Recipient:
        """The address that an account had before a link changed it.

        Raises:
            MessageNotNeeded: nobody knows it any more.
            ServiceUnavailable: the user service is away.
        """
        request = GetReplacedEmailRequest(link_id=link_id)
        try:
            answer = await call(self._users.GetReplacedEmail, request, caller=SERVICE, deadline=self._deadline)
        except CallRefused as refused:
            raise MessageNotNeeded(f"the address is not known any more: {refused.refusal.value}") from None
        return Recipient(name=answer.name, address=answer.email)

    async def require_user(self, user_id: str) -> None:
        """Refuse whoever has no account.

        Raises:
            UserNotFound: there is no such account.
            ServiceUnavailable: the user service is away.
        """
        try:
            await self.recipient(user_id)
        except (RecipientUnknown, MessageNotNeeded):
            raise UserNotFound(user_id) from None

    async def product_names(self, product_ids: Iterable[str]) -> Mapping[str, str]:
        """The names of those products that still exist, `NAME_SECONDS` old at most.

        Raises:
            ServiceUnavailable: the product service is away, and not all names are known.
        """
        ids = list(dict.fromkeys(product_ids))
        names = {product_id: self._names.get(product_id) for product_id in ids}
        unknown = [product_id for product_id, name in names.items() if name is None]
        if unknown:
            asked = await asyncio.gather(*(self._ask_name(product_id) for product_id in unknown))
            names.update(zip(unknown, asked, strict=True))
        return {product_id: name for product_id, name in names.items() if name is not None}

    async def _ask_name(self, product_id: str) -> str | None:
        async with self._calls:
            try:
                answer = await call(
                    self._products.GetProduct,
                    GetProductRequest(product_id=product_id),
                    caller=SERVICE,
                    deadline=self._deadline,
                )
            except CallRefused as refused:
                if refused.refusal is Refusal.PRODUCT_NOT_FOUND:
                    return None
                raise
        self._names.put(product_id, answer.product.name)
        return answer.product.name
