"""The SMTP messenger over real connections: which of them carries a mail, and how each ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from domain.ids import new_id
from runtime.settings import Settings, SettingsError
from sandbox.certificates import CertificateAuthority
from sandbox.ports import free_port
from services.notification import smtp
from services.notification.errors import MailRelayUnusable, MessageDelayed, MessageRefused
from services.notification.messenger import Message, Recipient
from services.notification.smtp import Smtp


class Connection(SMTP):
    """One of the relay's connections."""

    def __init__(self, relay: Relay, **options: Any) -> None:
        super().__init__(relay, hostname="relay.example.test", loop=asyncio.get_running_loop(), **options)
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

    def __init__(self, **options: Any) -> None:
        self.port = free_port()
        self._options = options
        self.next_answer = "250 OK"
        self.connections: list[Connection] = []
        self.together = asyncio.Barrier(1)
        """So many mails are taken at once: the first ones wait for the last."""

    def connection(self) -> Connection:
        self.connections.append(Connection(self, **self._options))
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


@asynccontextmanager
async def running(relay: Relay, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    server = await asyncio.get_running_loop().create_server(relay.connection, "127.0.0.1", relay.port, ssl=tls)
    yield relay
    server.close()
    async with asyncio.timeout(5):
        # one whose client did not like the certificate never began
        begun = [connection for connection in relay.connections if connection.transport is not None]
        await asyncio.gather(*(connection.ended.wait() for connection in begun))


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[Relay]:
    async with running(Relay()) as relay:
        yield relay


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


def takes_login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
    """The relay's list of users."""
    assert isinstance(login, LoginPassword)
    return AuthResult(success=(login.login, login.password) == (b"shop", b"secret"), handled=False)


async def send(relay: Relay, **settings: Any) -> None:
    messenger = Smtp(Settings.model_validate({"smtp_port": relay.port, **settings}))
    try:
        await messenger.send(mail())
    finally:
        messenger.close()


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
async def test_a_relay_that_wants_a_login_delays_all_mails_until_it_has_a_good_one() -> None:
    wants_login = Relay(auth_required=True, auth_require_tls=False, authenticator=takes_login)
    async with running(wants_login) as relay:
        with pytest.raises(MailRelayUnusable, match=r"wants a login .*ORDERSAGA_SMTP_USER"):
            await send(relay)
        with pytest.raises(MailRelayUnusable, match=r"does not take our login .*ORDERSAGA_SMTP_PASSWORD"):
            await send(relay, smtp_user="shop", smtp_password="wrong")
        await send(relay, smtp_user="shop", smtp_password="secret")

    assert relay.mails == [0, 0, 1]


@pytest.mark.parametrize("kind", ["starttls", "tls"])
async def test_an_encrypted_relay_takes_mails_once_its_certificate_is_trusted(tmp_path: Path, kind: str) -> None:
    authority = CertificateAuthority()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "relay.pem").write_bytes(b"".join(authority.issue_for_host("localhost")))
    context.load_cert_chain(tmp_path / "relay.pem")
    encrypted = Relay(tls_context=context, require_starttls=True) if kind == "starttls" else Relay()
    async with running(encrypted, tls=context if kind == "tls" else None) as relay:
        with pytest.raises(MailRelayUnusable, match=r"certificate is not trusted: .*ORDERSAGA_SMTP_CA_FILE"):
            await send(relay, smtp_tls=kind)
        await send(relay, smtp_tls=kind, smtp_ca_file=tmp_path / "ca.pem")
        if kind == "starttls":
            with pytest.raises(MailRelayUnusable, match=r"wants a login or encryption .*ORDERSAGA_SMTP_TLS"):
                await send(relay)

    assert sum(relay.mails) == 1


async def test_a_relay_without_starttls_is_named_as_that(relay: Relay) -> None:
    with pytest.raises(MailRelayUnusable, match="has no STARTTLS; see ORDERSAGA_SMTP_TLS"):
        await send(relay, smtp_tls="starttls")


async def test_a_relay_without_logins_is_named_as_that(relay: Relay) -> None:
    with pytest.raises(MailRelayUnusable, match="takes no login over this connection; see ORDERSAGA_SMTP_TLS"):
        await send(relay, smtp_tls="none", smtp_user="shop", smtp_password="secret")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"smtp_user": "shop", "smtp_password": "secret", "smtp_tls": "none"},
            "ORDERSAGA_SMTP_TLS: with none the",
        ),
        ({"smtp_user": "shop"}, "ORDERSAGA_SMTP_PASSWORD is not set"),
        ({"smtp_ca_file": "/nowhere/ca.pem"}, "ORDERSAGA_SMTP_CA_FILE: /nowhere/ca.pem cannot be used: No such file"),
        ({"smtp_password": "secret"}, "ORDERSAGA_SMTP_PASSWORD is set, and ORDERSAGA_SMTP_USER is not"),
        ({"mail_sender": "nonsense"}, "ORDERSAGA_MAIL_SENDER: 'nonsense' has no e-mail address"),
    ],
)
def test_settings_that_do_no_good_are_named(settings: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        Smtp(Settings.model_validate({"smtp_host": "relay.example.test", **settings}))
