"""Debian's mail server, Exim: a relay that takes mails over STARTTLS from those who log in, and delivers them here."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from runtime.settings import Settings
from sandbox.certificates import CertificateAuthority
from sandbox.child import Child, Command
from sandbox.external import External
from sandbox.ports import HOST, POLL_SECONDS, free_port, wait_until_listening
from tests.support.programs import needed

USER: Final = "shop"
PASSWORD: Final = "correct horse"
_READY_SECONDS: Final = 60.0
_CONFIG: Final = """
spool_directory = {folder}/spool
log_file_path = {folder}/log-%s
pid_file_path = {folder}/pid
exim_user = {user}
exim_group = {group}
keep_environment =
primary_hostname = relay.example.test
daemon_smtp_ports = {port}
local_interfaces = {host}
host_lookup =
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
tls_advertise_hosts = *
tls_certificate = {folder}/server.pem
tls_privatekey = {folder}/server.key
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
acl_smtp_mail = may_send
acl_smtp_rcpt = may_send

begin acl
may_send:
  deny !encrypted = *
       message = 530 5.7.0 Must issue a STARTTLS command first
  deny !authenticated = *
       message = 530 5.7.0 Authentication required
  accept

begin routers
everybody:
  driver = accept
  transport = mailbox

begin transports
mailbox:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  envelope_to_add
  user = {user}

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{login}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
"""


class EximRelay:
    """A relay on loopback, as long as the context is open. As root it runs as Debian's own user for it.

    Attributes:
        external: what of the embedded stack it stands for.
        environment: what a deployment sets to use it.
    """

    external: Final = External.SMTP

    def __init__(self, *, authority: CertificateAuthority) -> None:
        """Describe the relay, whose certificate is one of this authority; nothing runs yet."""
        self._folder = Path(tempfile.mkdtemp(prefix="ordersaga-exim-"))  # where Exim's user can enter
        self._port = free_port()
        self._child: Child | None = None
        certificate, key = authority.issue_for_host("localhost")
        for name, content in {"ca.pem": authority.pem, "server.pem": certificate, "server.key": key}.items():
            (self._folder / name).write_bytes(content)
        self.environment: Mapping[str, str] = {
            "ORDERSAGA_SMTP_HOST": "localhost",
            "ORDERSAGA_SMTP_PORT": str(self._port),
            "ORDERSAGA_SMTP_TLS": "starttls",
            "ORDERSAGA_SMTP_CA_FILE": str(self._folder / "ca.pem"),
            "ORDERSAGA_SMTP_USER": USER,
            "ORDERSAGA_SMTP_PASSWORD": PASSWORD,
        }

    def settings(self, **changes: Any) -> Settings:
        """The settings of a part that knows of nothing but the relay."""
        values = {name.removeprefix("ORDERSAGA_").lower(): value for name, value in self.environment.items()}
        return Settings.model_validate({**values, **changes})

    async def __aenter__(self) -> Self:
        program = needed("exim4")
        account = pwd.getpwnam("Debian-exim") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        for path in (self._folder, *self._folder.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
        config = self._folder / "exim.conf"  # stays ours: Exim reads no other's
        config.write_text(
            _CONFIG.format(
                folder=self._folder,
                port=self._port,
                host=HOST,
                user=account.pw_name,
                group=account.pw_gid,
                login=USER,
                password=PASSWORD,
            )
        )
        command = Command(
            name="exim",
            arguments=[str(program), "-C", str(config), "-bdf"],
            log=self._folder / "exim.log",
            environment=os.environ,
            folder=self._folder,
        )
        self._child = await Child.start(command)
        try:
            await self._child.wait_for(wait_until_listening(self._port), within=_READY_SECONDS)
        except BaseException:
            await self._child.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            await self._child.stop()
            await _end_group(self._child.pid)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def received(self, *, to: str) -> Sequence[Message]:
        """The mails that were delivered for an address, in no order."""
        mails = await asyncio.to_thread(self._mails)
        return [mail for mail in mails if mail["Envelope-To"] == to]

    async def received_about_orders(self, *, to: str) -> Sequence[Message]:
        """Those of them that are about orders."""
        return [mail for mail in await self.received(to=to) if str(mail["Message-ID"]).startswith("<order-")]

    def _mails(self) -> Sequence[Message]:
        return [message_from_bytes(file.read_bytes()) for file in (self._folder / "mail" / "new").glob("*")]


async def _end_group(leader: int) -> None:
    """End what the daemon has left: a process for each connection, of which some wait for their client."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(leader, signal.SIGKILL)
            await asyncio.sleep(POLL_SECONDS)
