"""A certificate for the time of a measurement."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from guerrilla_tw.testing.certificate import make_certificate

# What authorities still give most of; the handshake's cost depends on it.
_BITS = 2048


def write_certificate(key_file: Path, certificate_file: Path) -> None:
    """Write an RSA key and a certificate of its own for 127.0.0.1, good for a day, in PEM."""
    key, certificate = make_certificate("127.0.0.1", rsa.generate_private_key(65537, _BITS))
    # The directory is private already.
    key_file.write_text(key)
    certificate_file.write_text(certificate)
