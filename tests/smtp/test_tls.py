"""TLS on a connection: what each setting does, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from OpenSSL.crypto import X509
from OpenSSL.version import __version__ as pyopenssl_version

from guerrilla_tw.config import ConfigError
from guerrilla_tw.smtp import openssl
from guerrilla_tw.smtp.tls import make_tls
from tests.smtp.certificates import SERVER, Identity, ec_key, issue, rsa_key
from tests.smtp.tls_connection import Connection, TLSTestCase, client_context


class Versions(TLSTestCase):
    def assert_versions(self, taken: str, *protocols: str) -> None:
        """:param taken: the digits behind ``tls1.`` of the versions that clients may have."""
        versions = [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION, SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]
        served = [
            str(minor)
            for minor, version in enumerate(versions)
            if self.connect(client_context(version, version), protocols=protocols).completed
        ]
        self.assertEqual("".join(served), taken, protocols)

    def test_the_lowest_and_the_highest_can_be_chosen(self) -> None:
        self.assert_versions("23")
        self.assert_versions("3", "tls1.3")
        self.assert_versions("123", "tls1.1")
        self.assert_versions("01", "tls1.0", "tls1.1")
        self.assert_versions("2", "tls1.2", "tls1.2")


class Ciphers(TLSTestCase):
    def cipher(self, context: SSL.Context | None = None, **changes: Any) -> str | None:
        """:returns: the one that was agreed upon."""
        return self.connect(context, **changes).client.get_cipher_name()

    def test_of_tls_1_2(self) -> None:
        for name, cipher in [
            ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"),
            ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"),
        ]:
            chosen = self.cipher(client_context(highest=SSL.TLS1_2_VERSION), ciphers=(name,))
            self.assertEqual(chosen, cipher)

    def test_of_tls_1_2_with_rsa(self) -> None:
        files = issue(SERVER, key=rsa_key()).write(self.directory, "rsa")
        for name, cipher in [
            ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
            ("TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"),
        ]:
            context = client_context(highest=SSL.TLS1_2_VERSION)
            self.assertEqual(self.cipher(context, ciphers=(name,), **files), cipher)

    def test_of_tls_1_3(self) -> None:
        for name in ("TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"):
            self.assertEqual(self.cipher(ciphers=(name,)), name)

    def test_those_of_tls_1_3_alone_leave_nothing_to_older_clients(self) -> None:
        context = client_context(highest=SSL.TLS1_2_VERSION)
        connection = self.connect(context, ciphers=("TLS_AES_128_GCM_SHA256",))
        self.assertFalse(connection.completed)

    def test_older_ones_alone_leave_tls_1_3_as_it_is(self) -> None:
        ciphers = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",)
        self.assertEqual(self.cipher(ciphers=ciphers), "TLS_AES_256_GCM_SHA384")

    def test_both_kinds_together(self) -> None:
        older = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
        ciphers = ("TLS_CHACHA20_POLY1305_SHA256", older)
        self.assertEqual(self.cipher(ciphers=ciphers), ciphers[0])
        context = client_context(highest=SSL.TLS1_2_VERSION)
        self.assertEqual(self.cipher(context, ciphers=ciphers), "ECDHE-ECDSA-AES128-GCM-SHA256")

    def test_a_client_has_to_have_one_of_them(self) -> None:
        context = client_context(
            highest=SSL.TLS1_2_VERSION, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"
        )
        ciphers = ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",)
        connection = self.connect(context, ciphers=ciphers)
        self.assertEqual(connection.session.events, ["made", "lost"])

    def test_by_default_there_is_none_without_forward_secrecy(self) -> None:
        files = issue(SERVER, key=rsa_key()).write(self.directory, "rsa")
        context = client_context(highest=SSL.TLS1_2_VERSION, ciphers="AES128-GCM-SHA256")
        self.assertFalse(self.connect(context, **files).completed)

    def test_whose_order_counts(self) -> None:
        ours = (
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        )
        for is_ours, strength in [(False, "AES128"), (True, "AES256")]:
            context = client_context(
                highest=SSL.TLS1_2_VERSION,
                ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
            )
            cipher = self.cipher(context, ciphers=ours, prefer_server_cipher_suites=is_ours)
            self.assertIn(strength, cipher or "")


class Curves(TLSTestCase):
    def test_one_can_be_chosen(self) -> None:
        for name, group in [
            ("P256", "secp256r1"),
            ("P384", "secp384r1"),
            ("P521", "secp521r1"),
            ("X25519", "x25519"),
        ]:
            client: Any = self.connect(curves=(name,)).client
            self.assertEqual(client.get_group_name(), group)

    def test_several_can_be_chosen(self) -> None:
        client: Any = self.connect(curves=("P521", "P384")).client
        self.assertIn(client.get_group_name(), ("secp384r1", "secp521r1"))


class Certificates(TLSTestCase):
    def test_the_whole_chain_is_shown(self) -> None:
        middle = issue("Middle", self.authority, authority=True)
        files = issue(SERVER, Identity(middle.key, middle.chain[:1])).write(self.directory, "low")
        context = client_context()
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(X509.from_cryptography(self.authority.chain[0]))
        context.set_verify(SSL.VERIFY_PEER)
        self.assertTrue(self.connect(context, **files).completed)

    def test_parameters_of_a_curve_may_precede_the_key(self) -> None:
        key = Path(self.files["private_key_file"]).read_bytes()
        parameters = (
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        )
        path = self.write("parameters.pem", parameters + key)
        self.assertTrue(self.connect(private_key_file=path).completed)


class ClientCertificates(TLSTestCase):
    """For each kind of certificate a client may show, who is let in."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.write("roots.pem", self.authority.certificate_pem)
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        self.clients = {
            "none": None,
            "unknown": issue("client.example.com"),
            "known": issue("client.example.com", self.authority),
            "expired": issue("client.example.com", self.authority, expired=True),
            "for servers": issue("client.example.com", self.authority, usage=usage),
        }

    def assert_served(self, served: str, **changes: Any) -> None:
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            names = []
            for name, identity in self.clients.items():
                connection = self.connect(
                    client_context(version, version, identity=identity), **changes
                )
                if connection.completed:
                    names.append(name)
                else:
                    self.assertEqual(connection.session.events, ["made", "lost"])
            self.assertEqual(", ".join(names), served, changes)

    def test_who_is_let_in(self) -> None:
        everybody = ", ".join(self.clients)
        self.assert_served(everybody)
        for name, served in [
            ("NoClientCert", everybody),
            ("RequestClientCert", everybody),
            ("RequireAnyClientCert", "unknown, known, expired, for servers"),
            ("VerifyClientCertIfGiven", "none, known"),
            ("RequireAndVerifyClientCert", "known"),
        ]:
            self.assert_served(served, client_auth_type=name, root_cas_file=self.root)

    def test_any_certificate_needs_no_authorities(self) -> None:
        everybody = ", ".join(self.clients)
        self.assert_served(everybody, client_auth_type="RequestClientCert")

    def test_a_signature_that_is_wrong_is_nobodys_error(self) -> None:
        """OpenSSL keeps it for whoever asks next: this client, or another one."""
        authority = issue("Another Authority", authority=True, key=rsa_key())
        honest = issue("client", authority)
        signed = bytearray(honest.chain[0].public_bytes(Encoding.DER))
        signed[-1] ^= 1
        client = Identity(honest.key, (x509.load_der_x509_certificate(bytes(signed)),))
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            context = client_context(version, version, identity=client)
            context.add_extra_chain_cert(X509.from_cryptography(authority.chain[0]))
            connection = self.connect(context, client_auth_type="RequireAnyClientCert")
            self.assertEqual(connection.session.events, ["made", "handshake"])
            private: Any = SSL
            self.assertEqual(private._lib.ERR_peek_error(), 0)

    def test_who_is_asked(self) -> None:
        for name, asked in [("", False), ("NoClientCert", False), ("RequestClientCert", True)]:
            context = client_context(identity=self.clients["known"])
            connection = self.connect(context, client_auth_type=name)
            shown = connection.layer.getHandle().get_peer_certificate()
            self.assertEqual(shown is not None, asked, name)

    def test_a_client_is_told_whom_it_is_to_be_known_to(self) -> None:
        connection = self.connect(
            client_auth_type="RequireAndVerifyClientCert", root_cas_file=self.root
        )
        names = [name.CN for name in connection.client.get_client_ca_list()]
        self.assertEqual(names, ["Test Authority"])

    def test_a_session_can_be_resumed(self) -> None:
        version = SSL.TLS1_2_VERSION
        for name in ("RequireAnyClientCert", "RequireAndVerifyClientCert"):
            tls = make_tls(self.config(client_auth_type=name, root_cas_file=self.root))
            context = client_context(version, version, identity=self.clients["known"])
            first = Connection(tls, context).shake_hands()
            second = Connection(tls, context, first.client.get_session()).shake_hands()
            self.assertTrue(second.completed)
            self.assertEqual(first.client.master_key(), second.client.master_key())


class Refusals(TLSTestCase):
    """Each error is one line: the setting, and one cause."""

    def assert_refused(self, line: str, **changes: Any) -> None:
        error = self.assertRaises(ConfigError, make_tls, self.config(**changes))
        self.assertEqual(str(error), line)

    def test_versions(self) -> None:
        for line, *protocols in [
            ("protocols[0]: there is no 'tls1.4' (did you mean tls1.3?)", "tls1.4"),
            ("protocols[1]: there is no ''", "tls1.2", ""),
            (
                "protocols: the lowest version, tls1.3, is above the highest, tls1.2",
                "tls1.3",
                "tls1.2",
            ),
            (
                "protocols: is more than the lowest and the highest version",
                "tls1.1",
                "tls1.2",
                "tls1.3",
            ),
        ]:
            self.assert_refused(line, protocols=protocols)

    def test_ciphers(self) -> None:
        good = "TLS_AES_128_GCM_SHA256"
        for line, *ciphers in [
            ("ciphers[0]: there is no 'ALL:eNULL'", "ALL:eNULL"),
            (
                "ciphers[1]: OpenSSL does not take TLS_RSA_WITH_RC4_128_SHA: no cipher match",
                good,
                "TLS_RSA_WITH_RC4_128_SHA",
            ),
            (
                "ciphers[0]: OpenSSL does not take TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA:"
                " no cipher match",
                "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
            ),
        ]:
            self.assert_refused(line, ciphers=ciphers)
        self.assert_refused(
            "ciphers: are all of TLS 1.3, and protocols ends before it",
            ciphers=[good],
            protocols=["tls1.2", "tls1.2"],
        )

    def test_a_cipher_with_an_error_in_its_name(self) -> None:
        self.assert_refused(
            "ciphers[0]: there is no 'TLS_AES_128_GCM_SHA265'"
            " (did you mean TLS_AES_128_GCM_SHA256?)",
            ciphers=["TLS_AES_128_GCM_SHA265"],
        )

    def test_curves(self) -> None:
        self.assert_refused(
            "curves[1]: there is no 'P-256' (did you mean P256?)", curves=["X25519", "P-256"]
        )

    def test_curves_with_a_pyopenssl_that_cannot(self) -> None:
        self.patch(openssl, "_lib", _Without(SSL, "SSL_CTX_set1_curves_list"))
        self.assert_refused(
            "curves: cannot be chosen with this version of pyOpenSSL", curves=["P256"]
        )

    def test_a_pyopenssl_whose_private_parts_have_moved(self) -> None:
        for name in ("SSL_read", "SSL_write", "SSL_get_error", "BIO_read", "BIO_get_mem_data"):
            patch = self.patch(openssl, "_lib", _Without(SSL, name))
            self.assert_refused(f"pyOpenSSL {pyopenssl_version} is not supported")
            patch.restore()

    def test_client_certificates(self) -> None:
        self.assert_refused(
            "client_auth_type: there is no 'requireanyclientcert'"
            " (did you mean RequireAnyClientCert?)",
            client_auth_type="requireanyclientcert",
        )
        for name in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert"):
            self.assert_refused(
                f"root_cas_file: is missing, and client_auth_type is {name}", client_auth_type=name
            )

    def test_files_that_cannot_be_read(self) -> None:
        for name in ("private_key_file", "public_key_file", "root_cas_file"):
            for cause, path in [
                ("No such file or directory", "not there"),
                ("Is a directory", str(self.directory)),
                ("Not a regular file", "/dev/zero"),
                ("it is no path", "a\0b"),
            ]:
                shown = path.replace("\0", r"\x00")
                line = f"{name}: {shown} cannot be read: {cause}"
                self.assert_refused(line, **{name: path})

    def test_files_that_hold_something_else(self) -> None:
        junk = b"-----BEGIN %s-----\nAAAA\n-----END %s-----\n"
        for content in (b"", b"junk", junk.replace(b"%s", b"CERTIFICATE")):
            path = self.write("junk.pem", content)
            for name in ("public_key_file", "root_cas_file"):
                self.assert_refused(f"{name}: holds no certificate in PEM", **{name: path})
        for content in (b"", b"junk", junk.replace(b"%s", b"PRIVATE KEY")):
            path = self.write("junk.pem", content)
            line = "private_key_file: holds no private key in PEM"
            self.assert_refused(line, private_key_file=path)

    def test_an_encrypted_key_asks_nobody_for_a_passphrase(self) -> None:
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            encrypted = issue(SERVER).key_pem(BestAvailableEncryption(b"secret"), form)
            self.assert_refused(
                "private_key_file: is encrypted; a key without a passphrase is needed",
                private_key_file=self.write("encrypted.pem", encrypted),
            )

    def test_a_key_of_another_certificate(self) -> None:
        for key in (ec_key(), rsa_key()):
            other = issue(SERVER, key=key).write(self.directory, "other")
            self.assert_refused(
                "private_key_file: is not the key of the first certificate in public_key_file",
                private_key_file=other["private_key_file"],
            )

    def test_a_certificate_that_is_not_for_signatures(self) -> None:
        key = x25519.X25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        certificate = issue(SERVER, self.authority, public_key=key.public_key()).certificate_pem
        self.assert_refused(
            "public_key_file: OpenSSL does not take the certificate: unknown certificate type",
            private_key_file=self.write("x25519.key.pem", pem),
            public_key_file=self.write("x25519.pem", certificate),
        )


class _Without:
    """
    OpenSSL's functions, but for one.

    :param name: of that one.
    """

    def __init__(self, private: Any, name: str) -> None:
        self._lib = private._lib
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._lib, name)
