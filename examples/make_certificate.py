"""
Make a key and a self-signed certificate, to try TLS out.

Nobody vouches for such a certificate: a sender that checks whom it speaks to refuses it, and one
that does not check would take anybody's as well. For the real thing get one from an authority.

    python3 examples/make_certificate.py mail.example.com .

writes ``key.pem``, which only you can read, and ``certificate.pem``, and prints what to put into
the configuration. Neither file is overwritten. The certificate is good for thirty days.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAYS = 30


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        if text and text.isascii() and text.isprintable() and " " not in text:
            return x509.DNSName(text)
        raise argparse.ArgumentTypeError(f"{text!r} is no address and no name in ASCII") from None


def _directory(text: str) -> Path:
    try:
        os.makedirs(text, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"no directory {text!r}: {error.strerror}") from None
    return Path(text).absolute()


def make_certificate(host: x509.GeneralName) -> tuple[bytes, bytes]:
    """
    Make a key and its certificate.

    :param host: whom the certificate is for.
    :returns: the key and the certificate, in PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    # Whoever looks at it sees what it is.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "for a try-out only")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate.public_bytes(Encoding.PEM),
    )


def write_new(path: Path, content: bytes, mode: int) -> None:
    """
    Write a file that is not there yet.

    :param mode: who may read it, from its first moment on.
    :raises OSError: it cannot be made, or it is there.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def main() -> None:
    """Do what the command line says."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host", type=_host, help="name or address that the clients connect to")
    parser.add_argument("directory", type=_directory, help="where the two files are to be")
    options = parser.parse_args()
    key_file = options.directory / "key.pem"
    certificate_file = options.directory / "certificate.pem"
    key, certificate = make_certificate(options.host)
    for path in (key_file, certificate_file):
        if path.exists():
            parser.exit(1, f"{parser.prog}: {path} is there already; nothing was written\n")
    try:
        write_new(key_file, key, 0o600)
        write_new(certificate_file, certificate, 0o644)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error.filename} was not written: {error.strerror}\n")
    settings = {
        "start_tls_on": True,
        "private_key_file": str(key_file),
        "public_key_file": str(certificate_file),
    }
    print(f"Wrote {key_file}\nand {certificate_file}, good for {DAYS} days.\n")
    print("Put this into one of the servers of the configuration:\n")
    print(f'"tls": {json.dumps(settings, indent=4)}\n')
    print("For a try-out only: no sender has a reason to trust this certificate.")


if __name__ == "__main__":
    main()
