"""Certificates that are made as a test needs them."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


class Pair:
    """A certificate and its key, as PEM."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.serial = certificate.serial_number
        self.certificate = certificate.public_bytes(Encoding.PEM)
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, directory: Path) -> None:
        """Puts `tls.crt` and `tls.key` in place, each in one step, the certificate last."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in (("tls.key", self.key), ("tls.crt", self.certificate)):
            new = directory.parent / f"{directory.name}-{name}.new"
            new.write_bytes(content)
            new.replace(directory / name)


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ca = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._sign(self._name, self._key.public_key(), (ca, True))
        self.certificate = certificate.public_bytes(Encoding.PEM)

    def issue(self, name: str, usage: x509.ObjectIdentifier, days: int = 1) -> Pair:
        """Makes a certificate that ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = self._sign(
            subject, key.public_key(),
            (x509.SubjectAlternativeName([address]), False),
            (x509.ExtendedKeyUsage([usage]), False), days=days,
        )  # fmt: skip
        return Pair(certificate, key)

    def server(self) -> Pair:
        return self.issue("edge", ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, days: int = 1) -> Pair:
        return self.issue("checkout", ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *extensions: tuple[x509.ExtensionType, bool],
        days: int = 1,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * _DAY)
            .not_valid_after(now + days * _DAY)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())
