"""The notification service: consumes order events, sends mails, answers health checks. It has no RPC of its own."""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka import ConsumerRecord

from domain.events import ORDER_EVENTS
from ordersaga.product.v1.product_pb2_grpc import ProductServiceStub
from ordersaga.user.v1.user_pb2_grpc import UserServiceStub
from runtime.database import Database
from runtime.kafka_consumer import Consumer, Subscription
from runtime.process import Life
from runtime.rpc_client import open_channel
from runtime.rpc_server import serve
from runtime.settings import Settings
from services.notification.directory import Directory
from services.notification.intake import to_order_event
from services.notification.sender import DATABASE_AWAY, Sender
from services.notification.service import NotificationService
from services.notification.smtp import Smtp

GROUP: Final = "notification"


async def run(settings: Settings, life: Life) -> None:
    """Serve until the process stops. Neither the broker nor the SMTP relay needs to be there for it to be ready."""
    database = Database(settings.required("notification_dsn"), pool_size=settings.database_pool_size)
    try:
        async with open_channel(settings.user_address) as users, open_channel(settings.product_address) as products:
            directory = Directory(
                users=UserServiceStub(users),
                products=ProductServiceStub(products),
                deadline=settings.grpc_deadline,
            )
            service = NotificationService(
                database, directory=directory, smtp=Smtp(settings), sender=settings.mail_sender
            )
            await _consume_and_send(settings, life, service)
    finally:
        await database.close()


async def _consume_and_send(settings: Settings, life: Life, service: NotificationService) -> None:
    sender = Sender(service)

    async def handle(record: ConsumerRecord) -> None:
        event = to_order_event(record)
        if event is not None and await service.receive(event):
            sender.wake()

    consumer = Consumer(
        settings, Subscription(group=GROUP, topics=(ORDER_EVENTS,), handle=handle, transient=DATABASE_AWAY)
    )
    async with asyncio.TaskGroup() as group:
        loops = [group.create_task(consumer.run()), group.create_task(sender.run())]
        await serve(settings, life, address=settings.notification_address, services=(), add=lambda _: None)
        for loop in loops:
            loop.cancel()
