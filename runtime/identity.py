"""Who a process of ours is: each part has a certificate that names it, and calls another over mutual TLS only.

A part's certificate carries ``spiffe://ordersaga/<part>`` (the identity, by which the part that is called knows its
caller) and the DNS name ``<part>.ordersaga`` (by which the caller knows whom it reached, whatever address that has).
An operator's carries ``spiffe://ordersaga/operator/<name>``: a person with a name, who acts by the `ordersaga` command.
It is signed by the CA of the installation, which signs for nobody else. Files are read again when they change.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from runtime.metrics import CERTIFICATE_EXPIRES
from runtime.settings import Settings, SettingsError

log = structlog.stdlib.get_logger(__name__)

TRUST_DOMAIN: Final = "ordersaga"
_OPERATOR_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_CA, _CERTIFICATE, _KEY = (f"ORDERSAGA_TLS_{name}_FILE" for name in ("CA", "CERTIFICATE", "KEY"))


class Part(StrEnum):
    """What calls, or is called."""

    GATEWAY = "gateway"
    ORDER_WORKER = "order-worker"
    CODEC_SERVER = "codec-server"
    USER = "user"
    PRODUCT = "product"
    INVENTORY = "inventory"
    ORDER = "order"
    PAYMENT = "payment"
    NOTIFICATION = "notification"
    OPERATOR = "operator"
    """No process: a person on call."""

    @property
    def spiffe_id(self) -> str:
        """The URI by which its certificate names it; an operator's has ``/<name>`` behind it."""
        return f"spiffe://{TRUST_DOMAIN}/{self.value}"

    @property
    def server_name(self) -> str:
        """The DNS name for which its certificate is good, whatever its address."""
        return f"{self.value}.{TRUST_DOMAIN}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate names: a part, and which one of the operators."""

    part: Part
    operator: str = ""


@dataclass(frozen=True, slots=True)
class Pem:
    """What a part proves itself with, and whom it trusts, in PEM."""

    ca: bytes
    certificate: bytes
    key: bytes
    expires_at: datetime


class Credentials:
    """A part's certificate and key, and the CA that it trusts.

    `refresh` reads files that have changed. What cannot be used is logged, and the last good ones stay in use.

    Raises:
        SettingsError: a file is missing or does not fit; the message says which and why.
    """

    def __init__(self, part: Part, *, ca: Path, certificate: Path, key: Path) -> None:
        self.part = part
        self._files = {_CA: ca, _CERTIFICATE: certificate, _KEY: key}
        self._lock = threading.Lock()
        self._stamps = self._stamp()
        self._generation = 0
        self.pem = self._read()

    @classmethod
    def of(cls, settings: Settings, part: Part) -> Credentials:
        """Those that the settings name for this part."""
        ca, certificate, key = (
            Path(settings.required(name).replace("{part}", part.value))
            for name in ("tls_ca_file", "tls_certificate_file", "tls_key_file")
        )
        return cls(part, ca=ca, certificate=certificate, key=key)

    def refresh(self) -> int:
        """Read the files again if they have changed; a number that rises with each change. May be called anywhere."""
        with self._lock:
            stamps = self._stamp()
            if stamps != self._stamps:
                self._stamps = stamps
                self._take()
            return self._generation

    def _take(self) -> None:
        try:
            pem = self._read()
        except SettingsError as error:
            log.error("identity.unusable_certificate", part=self.part.value, problem=str(error))
            return
        if pem != self.pem:
            self.pem = pem
            self._generation += 1
            log.info("identity.certificate_read_again", part=self.part.value)

    def for_server(self) -> grpc.ServerCredentials:
        """Of a server that takes calls with a certificate of the same CA only."""

        shown = self.refresh()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            """What a new connection is met with; None for the same as the one before."""
            nonlocal shown
            before, shown = shown, self.refresh()
            return None if shown == before else self._configuration()

        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            fetch,  # type: ignore[arg-type]  # None is allowed, says gRPC's documentation
            require_client_authentication=True,
        )

    def for_channel(self) -> grpc.ChannelCredentials:
        """Of a connection to another part."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.pem.ca, private_key=self.pem.key, certificate_chain=self.pem.certificate
        )

    def _read(self) -> Pem:
        pem = _read(self.part, self._files)
        CERTIFICATE_EXPIRES.labels(self.part.value).set(pem.expires_at.timestamp())
        return pem

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(self.pem.key, self.pem.certificate)], root_certificates=self.pem.ca
        )

    def _stamp(self) -> list[tuple[int, int, int] | None]:
        return [_stamp_of(path) for path in self._files.values()]


@lru_cache(maxsize=256)  # asked at every call, and there are but some parts and operators
def identity_of(uri: str) -> Identity | None:
    """Whom a SPIFFE id names; None for anybody who is not ours."""
    before, _, operator = uri.partition(f"{Part.OPERATOR.spiffe_id}/")
    if not before and _OPERATOR_NAME.fullmatch(operator):
        return Identity(Part.OPERATOR, operator)
    parts = (part for part in Part if part is not Part.OPERATOR)
    return next((Identity(part) for part in parts if uri == part.spiffe_id), None)


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(part: Part, files: Mapping[str, Path]) -> Pem:
    """The contents of the files, which belong together and are good for this part now.

    Raises:
        SettingsError: they are not; the message names the setting.
    """
    contents: dict[str, bytes] = {}
    for setting, path in files.items():
        try:
            contents[setting] = path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    certificates = _certificates(_CERTIFICATE, files, contents)
    _check_names(part, certificates[0], files)
    _check_key(certificates[0], files, contents)
    authorities = _certificates(_CA, files, contents)
    if not any(_has_signed(authority, certificate) for authority in authorities for certificate in certificates):
        raise SettingsError(f"{_CA}: {files[_CA]} did not sign {files[_CERTIFICATE]}")
    return Pem(contents[_CA], contents[_CERTIFICATE], contents[_KEY], certificates[0].not_valid_after_utc)


def _certificates(setting: str, files: Mapping[str, Path], contents: Mapping[str, bytes]) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(contents[setting])
    except ValueError:
        raise SettingsError(f"{setting}: {files[setting]} holds no certificate in PEM") from None


def _check_names(part: Part, certificate: x509.Certificate, files: Mapping[str, Path]) -> None:
    where = f"{_CERTIFICATE}: {files[_CERTIFICATE]}"
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    identity = identity_of(uris[0]) if len(uris) == 1 else None
    if identity is None or identity.part is not part:
        wanted = f"{part.spiffe_id}/<name>" if part is Part.OPERATOR else part.spiffe_id
        raise SettingsError(f"{where} is for {', '.join(uris) or 'no part'}, not for {wanted}")
    if part is not Part.OPERATOR and part.server_name not in names.get_values_for_type(x509.DNSName):
        raise SettingsError(f"{where} lacks the DNS name {part.server_name}")
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise SettingsError(
            f"{where} is good from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, not now"
        )


def _check_key(certificate: x509.Certificate, files: Mapping[str, Path], contents: Mapping[str, bytes]) -> None:
    try:
        key = load_pem_private_key(contents[_KEY], password=None)
    except (ValueError, TypeError):
        raise SettingsError(f"{_KEY}: {files[_KEY]} holds no private key in PEM without a passphrase") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise SettingsError(f"{_KEY}: {files[_KEY]} is not the key of {files[_CERTIFICATE]}")


def _has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
