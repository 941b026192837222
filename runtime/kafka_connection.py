"""How every client of ours reaches Kafka: address, encryption and login from the settings; and why it could not."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from runtime.settings import Settings, SettingsError

CLIENT_ID: Final = "ordersaga"
_DIAGNOSIS_SECONDS: Final = 1.5
"""What a server gets to answer: less than a probe (`runtime.health`), so that it can say which one did not."""
_CLOSED: Final = (
    "it closed the connection: encryption or login are not what it wants; see ORDERSAGA_KAFKA_SECURITY_PROTOCOL"
)


def kafka_options(settings: Settings) -> dict[str, Any]:
    """What every client of aiokafka is made with.

    Raises:
        SettingsError: a file or the login is missing, or does not fit.
    """
    protocol = settings.kafka_security_protocol
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "client_id": CLIENT_ID,
        "security_protocol": protocol,
    }
    if protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.required("kafka_username")
        options["sasl_plain_password"] = settings.required("kafka_password")
    return options


async def diagnose(settings: Settings) -> str:
    """Why no bootstrap server can be used, in words; empty when one can.

    A client of aiokafka says no more than that it was unable to bootstrap.
    """
    try:
        options = kafka_options(settings)
    except SettingsError as error:  # a certificate was spoilt since the start
        return str(error)
    servers = settings.kafka_bootstrap.split(",")
    problems = await asyncio.gather(*(_diagnose_one(server, options) for server in servers))
    if not all(problems):
        return ""
    return "; ".join(f"{server}: {problem}" for server, problem in zip(servers, problems, strict=True))


async def _diagnose_one(server: str, options: dict[str, Any]) -> str:
    host, _, port = server.rpartition(":")
    options = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    try:
        async with asyncio.timeout(_DIAGNOSIS_SECONDS):
            connection = await create_conn(host.strip("[]"), int(port), **options)
            try:
                await connection.send(MetadataRequest([]))  # a broker that wants a login talks of versions without one
            finally:
                connection.close()
    except Exception as error:  # whatever it is, it is why nobody can be reached
        return explain(error)
    return ""


def explain(error: BaseException) -> str:
    """What such an error of a connection to Kafka means."""
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {cause.verify_message}; see ORDERSAGA_KAFKA_CA_FILE"
            case SaslAuthenticationFailed() | IllegalSaslStateError():
                return "it refused our login; see ORDERSAGA_KAFKA_USERNAME and ORDERSAGA_KAFKA_PASSWORD"
            case UnsupportedSaslMechanismError():
                return "it does not know this kind of login; see ORDERSAGA_KAFKA_SASL_MECHANISM"
            case ssl.SSLError():
                return (
                    f"no encrypted connection came about ({cause.reason or cause}): it speaks no TLS there, or wants a "
                    "client certificate; see ORDERSAGA_KAFKA_SECURITY_PROTOCOL and ORDERSAGA_KAFKA_CERTIFICATE_FILE"
                )
            case ConnectionRefusedError():
                return "nobody listens there"
            case ConnectionResetError() | BrokenPipeError():
                return _CLOSED
            case OSError() if cause.strerror:
                return cause.strerror.lower()
            case TimeoutError():
                return f"no answer within {_DIAGNOSIS_SECONDS:g} s: is it the port of another protocol?"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, KafkaError):
        return _CLOSED
    return f"{type(error).__name__}: {error}"


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    ca, certificate, key = settings.kafka_ca_file, settings.kafka_certificate_file, settings.kafka_key_file
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"ORDERSAGA_KAFKA_CA_FILE: {ca} cannot be used: {error.strerror or error}") from None
    if certificate is None and key is not None:
        raise SettingsError("ORDERSAGA_KAFKA_KEY_FILE is set, and ORDERSAGA_KAFKA_CERTIFICATE_FILE is not")
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"ORDERSAGA_KAFKA_CERTIFICATE_FILE: {certificate} cannot be used: {error.strerror or error}"
            ) from None
    return context
