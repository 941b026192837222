"""The SMTP messenger over real connections: which of them carries a mail, and how each ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session

from domain.ids import new_id
from runtime.settings import Settings
from sandbox.ports import free_port
from services.notification import smtp
from services.notification.errors import MessageDelayed, MessageRefused
from services.notification.messenger import Message, Recipient
from services.notification.smtp import Smtp


class Connection(SMTP):
    """One of the relay's connections."""

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay, hostname="relay.example.test", loop=asyncio.get_running_loop())
        self.mails = 0
        self.heard = b""
        self.ended = asyncio.Event()

    def hang_up(self) -> None:
        assert self.transport is not None
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self.heard += data
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        super().connection_lost(error)
        self.ended.set()


class Relay:
    """An SMTP server that answers the next MAIL command as the test wants; without an answer it hangs up."""

    def __init__(self) -> None:
        self.port = free_port()
        self.next_answer = "250 OK"
        self.connections: list[Connection] = []
        self.together = asyncio.Barrier(1)
        """So many mails are taken at once: the first ones wait for the last."""

    def connection(self) -> Connection:
        self.connections.append(Connection(self))
        return self.connections[-1]

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's
        self, server: Connection, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer, self.next_answer = self.next_answer, "250 OK"
        if answer == "":
            server.hang_up()
        envelope.mail_from = address
        return answer

    async def handle_DATA(self, server: Connection, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await self.together.wait()
        server.mails += 1
        return "250 OK"

    @property
    def mails(self) -> list[int]:
        """How many mails each connection has brought."""
        return [connection.mails for connection in self.connections]


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay()
    server = await asyncio.get_running_loop().create_server(relay.connection, "127.0.0.1", relay.port)
    yield relay
    server.close()
    async with asyncio.timeout(5):
        await asyncio.gather(*(connection.ended.wait() for connection in relay.connections))


@pytest.fixture
def messenger(relay: Relay) -> Iterator[Smtp]:
    messenger = Smtp(Settings(smtp_port=relay.port))
    yield messenger
    messenger.close()


def mail() -> Message:
    recipient = Recipient(name="Ada Byron", address="customer@example.test")
    return Message(id=f"notification:{new_id()}", recipient=recipient, subject="Hello", text="Hello\n", html=None)


async def test_mails_one_after_the_other_take_one_connection(relay: Relay, messenger: Smtp) -> None:
    for _ in range(3):
        await messenger.send(mail())

    assert relay.mails == [3]


async def test_mails_at_once_take_a_connection_each_and_later_ones_take_these(relay: Relay, messenger: Smtp) -> None:
    relay.together = asyncio.Barrier(2)
    await asyncio.gather(messenger.send(mail()), messenger.send(mail()))
    relay.together = asyncio.Barrier(1)
    for _ in range(2):
        await messenger.send(mail())

    assert sorted(relay.mails) == [1, 3]


async def test_a_relay_that_closed_the_idle_connection_does_not_delay_a_mail(relay: Relay, messenger: Smtp) -> None:
    await messenger.send(mail())
    relay.connections[0].hang_up()
    await relay.connections[0].ended.wait()

    await messenger.send(mail())

    assert relay.mails == [1, 1]


@pytest.mark.parametrize("ending", ["421 too many mails over one connection", ""], ids=["given_up", "broken"])
async def test_a_connection_that_ends_in_reuse_does_not_delay_a_mail(
    relay: Relay, messenger: Smtp, ending: str
) -> None:
    await messenger.send(mail())
    relay.next_answer = ending

    await messenger.send(mail())

    assert relay.mails == [1, 1]


@pytest.mark.parametrize("ending", ["421 not now", ""], ids=["given_up", "broken"])
async def test_a_connection_that_ends_before_its_first_mail_delays_it(
    relay: Relay, messenger: Smtp, ending: str
) -> None:
    relay.next_answer = ending

    with pytest.raises(MessageDelayed):
        await messenger.send(mail())

    assert relay.mails == [0]


@pytest.mark.parametrize(
    ("answer", "error"), [("550 not from you", MessageRefused), ("451 later", MessageDelayed)], ids=["5xx", "4xx"]
)
async def test_an_answer_about_the_mail_is_not_asked_for_twice_and_ends_the_connection(
    relay: Relay, messenger: Smtp, answer: str, error: type[Exception]
) -> None:
    await messenger.send(mail())
    relay.next_answer = answer

    with pytest.raises(error, match=rf"^SMTPSenderRefused {answer[:3]}$"):
        await messenger.send(mail())
    await messenger.send(mail())

    assert relay.mails == [1, 1]
    assert relay.connections[0].heard.endswith(b"QUIT\r\n")


async def test_a_connection_that_no_mail_needs_is_closed(
    relay: Relay, messenger: Smtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "_IDLE_SECONDS", 0.05)

    await messenger.send(mail())
    async with asyncio.timeout(5):
        await relay.connections[0].ended.wait()
    await messenger.send(mail())

    assert relay.connections[0].heard.endswith(b"QUIT\r\n")
    assert relay.mails == [1, 1]


async def test_a_messenger_that_is_closed_keeps_no_connection(relay: Relay, messenger: Smtp) -> None:
    await messenger.send(mail())

    messenger.close()

    async with asyncio.timeout(5):
        await relay.connections[0].ended.wait()
    assert relay.connections[0].heard.endswith(b"QUIT\r\n")
