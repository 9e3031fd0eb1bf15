"""Keys and certificates for tests, made when they are needed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER = "mail.example.com"
# Without it a strict client, as Python's is from 3.13 on, takes nobody for an authority.
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def ec_key() -> Key:
    """:returns: a new key on P-256, which takes no time."""
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def rsa_key() -> Key:
    """:returns: always the same key, of 2048 bits, because it takes time."""
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Identity:
    """
    A key and its certificate.

    :param key: private.
    :param chain: the certificate, and those of who vouches for it.
    """

    key: Key
    chain: tuple[x509.Certificate, ...]

    @property
    def certificate_pem(self) -> bytes:
        """The chain."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    def key_pem(
        self,
        encryption: KeySerializationEncryption | None = None,
        form: PrivateFormat = PrivateFormat.PKCS8,
    ) -> bytes:
        """The key, readable if ``encryption`` is not given."""
        return self.key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())

    def write(self, directory: Path, name: str) -> dict[str, str]:
        """
        Write both.

        :returns: where they are, as settings of ``tls``.
        """
        key, certificate = directory / f"{name}.key.pem", directory / f"{name}.pem"
        key.write_bytes(self.key_pem())
        certificate.write_bytes(self.certificate_pem)
        return {"private_key_file": str(key), "public_key_file": str(certificate)}


def issue(
    name: str,
    issuer: Identity | None = None,
    *,
    key: Key | None = None,
    public_key: CertificatePublicKeyTypes | None = None,
    authority: bool = False,
    usage: x509.ObjectIdentifier | None = None,
    expired: bool = False,
) -> Identity:
    """
    Make a certificate.

    :param name: its common name, and the host that it is for, as is 127.0.0.1.
    :param issuer: who signs it; itself by default.
    :param key: a new one by default.
    :param public_key: what is certified, if it is not that of ``key``.
    :param authority: whether it may sign others.
    :param usage: the only extended key usage; by default for servers and for clients.
    :param expired: whether its time is over.
    """
    key = key or ec_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = datetime.now(timezone.utc) + timedelta(days=-1 if expired else 1)
    usages = (
        [usage] if usage else [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    issuer_key = (issuer.key if issuer else key).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.chain[0].subject if issuer else subject)
        .public_key(public_key or key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=10))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )
    if authority:
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    else:
        hosts = [x509.DNSName(name), x509.IPAddress(IPv4Address("127.0.0.1"))]
        builder = builder.add_extension(
            x509.SubjectAlternativeName(hosts), critical=False
        ).add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Identity(key, (certificate, *(issuer.chain if issuer else ())))
