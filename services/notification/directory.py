"""What a mail needs from other services: who the customer is, what the products are called."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from domain.refusals import Refusal
from ordersaga.product.v1.product_pb2 import GetProductRequest
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.user.v1.user_pb2 import GetUserRequest
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.caller import SERVICE
from runtime.refusal import CallRefused
from runtime.rpc_client import call
from services.notification.errors import RecipientUnknown
from services.notification.model import Recipient

_CALLS_AT_ONCE: Final = 16


class Directory:
    """Looks up people and products. Every method raises `ServiceUnavailable` when the service is away."""

    def __init__(self, *, users: UserServiceStub, products: ProductServiceStub, deadline: float) -> None:
        self._users = users
        self._products = products
        self._deadline = deadline
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def recipient(self, user_id: str) -> Recipient:
        """The customer's name and address as they are now.

        Raises:
            RecipientUnknown: there is no such account.
        """
        try:
            answer = await call(
                self._users.GetUser, GetUserRequest(user_id=user_id), caller=SERVICE, deadline=self._deadline
            )
        except CallRefused as refused:
            raise RecipientUnknown(refused.refusal) from None
        return Recipient(name=answer.user.name, email=answer.user.email)

    async def product_names(self, product_ids: Iterable[str]) -> Mapping[str, str]:
        """The names of those products that still exist."""
        ids = list(dict.fromkeys(product_ids))
        names = await asyncio.gather(*(self._product_name(product_id) for product_id in ids))
        return {product_id: name for product_id, name in zip(ids, names, strict=True) if name is not None}

    async def _product_name(self, product_id: str) -> str | None:
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
            return answer.product.name
