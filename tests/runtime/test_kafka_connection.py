"""Why Kafka cannot be reached is said in words, with the setting that mends it.

Logins and brokers that refuse them are tried on a real one, in `tests/real`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from runtime.identity import Part
from runtime.kafka import Publisher
from runtime.kafka_connection import diagnose, kafka_options
from runtime.settings import Settings, SettingsError
from sandbox.certificates import CertificateAuthority, Certificates
from sandbox.ports import free_port


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return CertificateAuthority().issue_all(tmp_path)


@asynccontextmanager
async def broker(certificates: Certificates | None) -> AsyncIterator[str]:
    """Somebody who takes connections, over TLS if they have certificates, and closes each at the first word."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    context = None
    if certificates is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        path = str(certificates.folder / Part.USER.value)
        context.load_cert_chain(f"{path}.pem", f"{path}.key")
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def settings(bootstrap: str = "127.0.0.1:9092", **changes: Any) -> Settings:
    return Settings.model_validate({"kafka_bootstrap": bootstrap, **changes})


async def test_nobody_there() -> None:
    here = f"127.0.0.1:{free_port()}"

    assert await diagnose(settings(here)) == f"{here}: nobody listens there"


async def test_every_bootstrap_server_is_named_with_its_problem() -> None:
    ports = free_port(), free_port()
    both = ",".join(f"127.0.0.1:{port}" for port in ports)

    assert await diagnose(settings(both)) == "; ".join(f"127.0.0.1:{port}: nobody listens there" for port in ports)


async def test_a_certificate_of_another_ca(certificates: Certificates) -> None:
    async with broker(certificates) as address:
        problem = await diagnose(settings(address, kafka_security_protocol="SSL"))

    assert "its certificate is not trusted" in problem
    assert "ORDERSAGA_KAFKA_CA_FILE" in problem


async def test_tls_where_the_broker_speaks_none() -> None:
    async with broker(None) as address:
        problem = await diagnose(settings(address, kafka_security_protocol="SSL"))

    assert "ORDERSAGA_KAFKA_SECURITY_PROTOCOL" in problem


async def test_no_tls_where_the_broker_wants_it(certificates: Certificates) -> None:
    async with broker(certificates) as address:
        problem = await diagnose(settings(address))

    assert "it closed the connection" in problem
    assert "ORDERSAGA_KAFKA_SECURITY_PROTOCOL" in problem


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kafka_security_protocol": "SASL_SSL"}, "ORDERSAGA_KAFKA_USERNAME is not set"),
        ({"kafka_security_protocol": "SASL_SSL", "kafka_username": "relay"}, "ORDERSAGA_KAFKA_PASSWORD is not set"),
        (
            {"kafka_security_protocol": "SSL", "kafka_ca_file": "/nowhere/ca.pem"},
            "KAFKA_CA_FILE: /nowhere/ca",
        ),
        ({"kafka_security_protocol": "SSL", "kafka_key_file": "k"}, "ORDERSAGA_KAFKA_KEY_FILE is set, and"),
        (
            {"kafka_security_protocol": "SSL", "kafka_certificate_file": "/nowhere/us.pem"},
            "ORDERSAGA_KAFKA_CERTIFICATE_FILE: /nowhere/us.pem cannot be used: No such file",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        kafka_options(settings(**changes))


def test_a_login_over_tls_is_made_of_the_settings(certificates: Certificates) -> None:
    options = kafka_options(
        settings(
            "one.example.test:9093,two.example.test:9093",
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="SCRAM-SHA-256",
            kafka_username="relay",
            kafka_password="secret",
            kafka_ca_file=certificates.ca_file,
        )
    )

    context = options.pop("ssl_context")
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert options == {
        "bootstrap_servers": "one.example.test:9093,two.example.test:9093",
        "client_id": "ordersaga",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "relay",
        "sasl_plain_password": "secret",
    }


async def test_a_certificate_that_is_spoilt_later_is_trouble_that_passes(certificates: Certificates) -> None:
    spoilt = settings(kafka_security_protocol="SSL", kafka_ca_file=certificates.ca_file)
    publisher = Publisher(spoilt)
    Path(certificates.ca_file).write_text("half a certifi")

    with pytest.raises(KafkaConnectionError, match="ORDERSAGA_KAFKA_CA_FILE"):
        await publisher.batch()
    assert "ORDERSAGA_KAFKA_CA_FILE" in await diagnose(spoilt)
