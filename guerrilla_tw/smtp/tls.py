"""
A server's ``tls`` settings, made TLS on its connections.

Nothing but this and the modules under it imports OpenSSL, so a daemon without TLS does not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from OpenSSL.version import __version__ as pyopenssl_version

from guerrilla_tw.config import ConfigError, TLSConfig, did_you_mean
from guerrilla_tw.reading import read_file
from guerrilla_tw.smtp.openssl import (
    TLSContext,
    TLSState,
    is_supported,
    set_groups,
    take_any_certificate,
)
from guerrilla_tw.smtp.tls_layer import TLSLayer, TLSSession
from guerrilla_tw.smtp.tls_names import CIPHERS, CURVES, TLS13_CIPHERS

if TYPE_CHECKING:
    from guerrilla_tw.smtp.flow import ITransport

T = TypeVar("T")

_VERSIONS: Final = {
    "tls1.0": SSL.TLS1_VERSION,
    "tls1.1": SSL.TLS1_1_VERSION,
    "tls1.2": SSL.TLS1_2_VERSION,
    "tls1.3": SSL.TLS1_3_VERSION,
}
# Forward secrecy for everybody; a sender that cannot do it gets what `ciphers` names.
_DEFAULT_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
# What is asked of a client, and whether what it shows must be signed by root_cas_file.
Read = Callable[[str], bytes]
_CLIENT_AUTH: Final = {
    "NoClientCert": (SSL.VERIFY_NONE, False),
    "RequestClientCert": (SSL.VERIFY_PEER, False),
    "RequireAnyClientCert": (SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, False),
    "VerifyClientCertIfGiven": (SSL.VERIFY_PEER, True),
    "RequireAndVerifyClientCert": (SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, True),
}


class TLS:
    """
    TLS for the connections of one server. See :func:`make_tls`.

    :param context: OpenSSL's, with all its settings.
    """

    def __init__(self, context: TLSContext) -> None:
        self._context = context

    def start(self, transport: ITransport, protocol: TLSSession) -> TLSLayer:
        """
        Put TLS between a live connection and the session on it, and wait for the client's hello.

        It is for STARTTLS, and for implicit TLS when it is called before anything is written.

        The producer that is registered with the transport must be unregistered before, and may be
        registered with what is returned. The session is told of the end of the handshake. If the
        handshake fails, or the client goes, it is told once, by connectionLost.

        :param transport: a connection of Twisted's, TCP or UNIX.
        :param protocol: the session; it must have nothing of the client's left that came in
            plaintext.
        :returns: the session's new transport; what has come already of the client's hello, if
            anything, may be given to its dataReceived.
        """
        layer = TLSLayer(TLSState(self._context), transport, protocol)
        # Every connection of Twisted's, and every protocol, has these; their interfaces have not.
        cast(Any, transport).protocol = layer
        cast(Any, protocol).transport = layer
        return layer

    def version(self, transport: TLSLayer) -> str:
        """
        Say which version of TLS was agreed on.

        :param transport: that :meth:`start` returned; its handshake is complete.
        :returns: such as ``TLSv1.3``.
        """
        return transport.getHandle().get_protocol_version_name()


def make_tls(config: TLSConfig, read: Read = read_file) -> TLS:
    """
    Make TLS of settings, of which every one has an effect or is refused.

    :param config: with TLS on. Files are read here and not again.
    :param read: a whole file; it may raise OSError.
    :raises ConfigError: a setting cannot be used; its path is the setting's name.
    """
    if not is_supported():
        raise ConfigError(f"pyOpenSSL {pyopenssl_version} is not supported")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    lowest, highest = _find_versions(config.protocols)
    _set_ciphers(context, config.ciphers, lowest, highest)
    _set_curves(context, config.curves)
    # After the ciphers, because they set how strong a key must be.
    _set_certificate(context, config, read)
    _set_client_auth(context, config, read)
    # Renegotiation is work that a client can make us do for nothing.
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    if config.prefer_server_cipher_suites:
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    # An idle client holds no buffers. Sessions are kept in tickets, by the clients.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return TLS(TLSContext(context))


@contextmanager
def _refusing(path: str, what: str) -> Iterator[None]:
    """Name the setting that OpenSSL does not take."""
    try:
        yield
    except (SSL.Error, TypeError) as error:
        # OpenSSL's errors are tuples: library, function, reason.
        reasons = [reason[-1] for reason in error.args[0]] if isinstance(error, SSL.Error) else []
        cause = reasons[-1] if reasons else str(error)
        raise ConfigError(f"OpenSSL does not take {what}: {cause}", path) from None


def _find(known: Mapping[str, T], name: str, path: str) -> T:
    if name not in known:
        raise ConfigError(f"there is no {name!r}" + did_you_mean(name, known), path)
    return known[name]


def _find_versions(protocols: Sequence[str]) -> tuple[int, int]:
    """:returns: the lowest and the highest version."""
    if len(protocols) > 2:
        raise ConfigError("is more than the lowest and the highest version", "protocols")
    versions = [
        _find(_VERSIONS, name, f"protocols[{index}]") for index, name in enumerate(protocols)
    ]
    lowest = versions[0] if versions else SSL.TLS1_2_VERSION
    highest = versions[1] if len(versions) == 2 else SSL.TLS1_3_VERSION
    if lowest > highest:
        cause = f"the lowest version, {protocols[0]}, is above the highest, {protocols[1]}"
        raise ConfigError(cause, "protocols")
    return lowest, highest


def _set_ciphers(context: SSL.Context, names: Sequence[str], lowest: int, highest: int) -> None:
    """
    Set the versions and their ciphers. As in Go, TLS 1.3 has its own when none of it is named.

    When nothing else is named, there is nothing else than TLS 1.3.
    """
    # OpenSSL takes the oldest versions for broken at any higher level.
    level = ":@SECLEVEL=0" if lowest < SSL.TLS1_2_VERSION else ""
    chosen = []
    for index, name in enumerate(names):
        path = f"ciphers[{index}]"
        cipher = _find(CIPHERS | TLS13_CIPHERS, name, path)
        if name in CIPHERS:
            with _refusing(path, name):
                context.set_cipher_list(cipher.encode())
            chosen.append(cipher)
    chosen_for_tls13 = [name for name in names if name in TLS13_CIPHERS]
    if chosen_for_tls13:
        context.set_tls13_ciphersuites(":".join(chosen_for_tls13).encode())
        if not chosen:
            lowest = SSL.TLS1_3_VERSION
    if lowest > highest:
        raise ConfigError("are all of TLS 1.3, and protocols ends before it", "ciphers")
    context.set_cipher_list(((":".join(chosen) or _DEFAULT_CIPHERS) + level).encode())
    with _refusing("protocols", "these versions"):
        context.set_min_proto_version(lowest)
        context.set_max_proto_version(highest)


def _set_curves(context: SSL.Context, names: Sequence[str]) -> None:
    chosen = []
    try:
        for index, name in enumerate(names):
            path = f"curves[{index}]"
            chosen.append(_find(CURVES, name, path))
            with _refusing(path, name):
                set_groups(context, chosen[-1:])
        if chosen:
            set_groups(context, chosen)
    except AttributeError:
        raise ConfigError("cannot be chosen with this version of pyOpenSSL", "curves") from None


def _set_certificate(context: SSL.Context, config: TLSConfig, read: Read) -> None:
    key = _read_key(read, config.private_key_file, "private_key_file")
    chain = _read_certificates(read, config.public_key_file, "public_key_file")
    if key.public_key() != chain[0].public_key():
        cause = "is not the key of the first certificate in public_key_file"
        raise ConfigError(cause, "private_key_file")
    with _refusing("public_key_file", "the certificate"):
        context.use_certificate(X509.from_cryptography(chain[0]))
        for certificate in chain[1:]:
            context.add_extra_chain_cert(X509.from_cryptography(certificate))
    with _refusing("private_key_file", "the key"):
        # A TypeError for what is no key of a signature.
        context.use_privatekey(PKey.from_cryptography_key(cast(Any, key)))


def _set_client_auth(context: SSL.Context, config: TLSConfig, read: Read) -> None:
    name = config.client_auth_type or "NoClientCert"
    mode, verified = _find(_CLIENT_AUTH, name, "client_auth_type")
    if config.root_cas_file:
        store = context.get_cert_store()
        assert store is not None
        for certificate in _read_certificates(read, config.root_cas_file, "root_cas_file"):
            store.add_cert(X509.from_cryptography(certificate))
            context.add_client_ca(X509.from_cryptography(certificate))
    elif verified:
        raise ConfigError(f"is missing, and client_auth_type is {name}", "root_cas_file")
    context.set_verify(mode, None if verified else take_any_certificate)
    # Without it, a client that showed a certificate could not resume its session.
    context.set_session_id(b"guerrilla")


def _read(read: Read, path: str, setting: str) -> bytes:
    try:
        return read(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", setting) from None


def _read_key(read: Read, path: str, setting: str) -> PrivateKeyTypes:
    """Without asking anybody for a passphrase."""
    content = _read(read, path, setting)
    try:
        return load_pem_private_key(content, None)
    except TypeError:
        raise ConfigError("is encrypted; a key without a passphrase is needed", setting) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("holds no private key in PEM", setting) from None


def _read_certificates(read: Read, path: str, setting: str) -> list[x509.Certificate]:
    content = _read(read, path, setting)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ConfigError("holds no certificate in PEM", setting) from None
