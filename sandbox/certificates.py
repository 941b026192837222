"""The embedded stack's own certificate authority, and a certificate for each part; made at the first start.

They are worthless anywhere else, and are made again well before they expire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.identity import Credentials, Part
from runtime.settings import SettingsError
from sandbox.files import write_private

LIFE: Final = timedelta(days=90)
RENEWED_BEFORE: Final = timedelta(days=30)
OPERATOR: Final = "sandbox"
"""The name of the one operator."""
_SKEW: Final = timedelta(hours=1)
"""A certificate is good from so long ago: the clock may be set back."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """A folder with ``ca.pem``, and ``<part>.pem`` and ``<part>.key`` for every part."""

    folder: Path

    @classmethod
    def load(cls, folder: Path) -> Certificates:
        """Those in the folder; others are made there when one is missing, does not fit, or soon expires."""
        certificates = cls(folder)
        if not all(certificates._is_good(part) for part in Part):
            CertificateAuthority().issue_all(folder)
        return certificates

    @property
    def ca_file(self) -> str:
        """As the setting has it."""
        return str(self.folder / "ca.pem")

    @property
    def certificate_file(self) -> str:
        """As the setting has it: of every part."""
        return str(self.folder / "{part}.pem")

    @property
    def key_file(self) -> str:
        """As the setting has it: of every part."""
        return str(self.folder / "{part}.key")

    def _is_good(self, part: Part) -> bool:
        ca, certificate, key = (self.folder / name for name in ("ca.pem", f"{part.value}.pem", f"{part.value}.key"))
        try:
            found = Credentials(part, ca=ca, certificate=certificate, key=key)
        except SettingsError:  # also what a start that was killed half-way left
            return False
        return found.pem.expires_at - RENEWED_BEFORE > datetime.now(UTC)


class CertificateAuthority:
    """Signs certificates; its key is in memory alone."""

    def __init__(self) -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = _name("Ordersaga sandbox")
        self._certificate = (
            _builder(self._name, self._name, self._key, life=LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, SHA256())
        )

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self._certificate.public_bytes(Encoding.PEM)

    def issue_all(self, folder: Path) -> Certificates:
        """A certificate for every part."""
        write_private(folder / "ca.pem", self.pem.decode())
        for part in Part:
            certificate, key = self.issue(part)
            write_private(folder / f"{part.value}.key", key.decode())
            write_private(folder / f"{part.value}.pem", certificate.decode())
        return Certificates(folder)

    def issue(self, part: Part, *, life: timedelta = LIFE, uri: str | None = None) -> tuple[bytes, bytes]:
        """A certificate for the part and its key, in PEM; of an expired one the life is negative.

        Args:
            part: whom it names.
            life: how long from now it is good.
            uri: names somebody else.
        """
        own = f"{part.spiffe_id}/{OPERATOR}" if part is Part.OPERATOR else part.spiffe_id
        names = [x509.DNSName(part.server_name), x509.UniformResourceIdentifier(uri or own)]
        return self._issue(part.value, names, life=life)

    def issue_for_host(self, host: str) -> tuple[bytes, bytes]:
        """A certificate for another program on this machine, by its DNS name and 127.0.0.1, and its key, in PEM."""
        return self._issue(host, [x509.DNSName(host), x509.IPAddress(ip_address("127.0.0.1"))], life=LIFE)

    def _issue(self, name: str, names: Sequence[x509.GeneralName], *, life: timedelta) -> tuple[bytes, bytes]:
        key = generate_private_key(SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(_name(name), self._name, key, life=life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            # tells two CAs of the same name apart, of which both are trusted while one follows the other
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM), private


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, *, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + life) - _SKEW)
        .not_valid_after(now + life)
    )
