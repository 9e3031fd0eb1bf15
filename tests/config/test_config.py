"""The configuration file: what it gives, and the one line that says why it is refused."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.config import (
    Config,
    ConfigError,
    Duration,
    LoadedConfig,
    ServerConfig,
    TLSConfig,
    convert_settings,
    did_you_mean,
    load_config,
    parse_config,
    setting_names,
    unknown_settings,
)
from guerrilla_tw.config.listen import Interface

EXAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "guerrilla.json")


def parse(value: object) -> LoadedConfig:
    return parse_config(json.dumps(value).encode(), "config.json")


def one_server(**changes: object) -> dict[str, Any]:
    return {"servers": [{"is_enabled": True, **changes}]}


class Refusals(SynchronousTestCase):
    """Each error is one exact line."""

    def assert_refused(self, text: bytes, line: str) -> None:
        error = self.assertRaises(ConfigError, parse_config, text, "config.json")
        self.assertEqual(str(error), line)

    def test_what_is_not_strict_json(self) -> None:
        for text, line in [
            (b"", "config.json: the file is empty"),
            (b" \r\n\t", "config.json: the file is empty"),
            (b'{\n"log_file": "\xff"}', "config.json: line 2 is not UTF-8"),
            (
                b'{\n  "log_file": stderr}',
                "config.json: not JSON: Expecting value (line 2, column 15)",
            ),
            (
                b'{"servers": []',
                "config.json: not JSON: Expecting ',' delimiter (line 1, column 15)",
            ),
            (
                b"\xef\xbb\xbf{}",
                "config.json: begins with a byte order mark; save it as UTF-8 without one",
            ),
            (b"[]", "config.json: the file must hold one JSON object"),
            (b"null", "config.json: the file must hold one JSON object"),
            (b'{"pid_file": "a", "pid_file": "a"}', "config.json: pid_file: is there twice"),
            (
                b'{"servers": [{}, {"timeout": 1, "timeout": 2}]}',
                "config.json: servers[1].timeout: is there twice",
            ),
            (
                b'{"backend_config": {"x": [NaN]}}',
                "config.json: backend_config.x[0]: is not a finite number",
            ),
            (
                b'{"backend_config": {"x": -Infinity}}',
                "config.json: backend_config.x: is not a finite number",
            ),
            (
                b'{"backend_config": {"x": 1e999}}',
                "config.json: backend_config.x: is not a finite number",
            ),
            (b"[" * 100_000, "config.json: nested too deeply"),
            (
                b'{"backend_config": {"x": ' + b"[" * 101 + b"]" * 101 + b"}}",
                "config.json: nested too deeply",
            ),
        ]:
            self.assert_refused(text, line)

    def test_what_other_formats_have(self) -> None:
        """Python's own messages differ from version to version, and say nothing of these."""
        comments = "JSON has no comments"
        comma = "a comma stands before a closing bracket"
        for text, line in [
            (b'{\n  // who\n  "log_file": ""}', f"{comments} (line 2, column 3)"),
            (b'{"log_file": "" /* who */}', f"{comments} (line 1, column 17)"),
            (b'# who\n{"log_file": ""}', f"{comments} (line 1, column 1)"),
            (b'{"log_file": ""}\n# who', f"{comments} (line 2, column 1)"),
            (b'{"servers": [],\n}', f"{comma} (line 1, column 15)"),
            (b'{"allowed_hosts": ["a", ]}', f"{comma} (line 1, column 23)"),
        ]:
            self.assert_refused(text, f"config.json: not JSON: {line}")

    def test_a_number_of_thousands_of_digits(self) -> None:
        text = b'{"servers": [{"timeout": ' + b"9" * 5000 + b"}]}"
        error = self.assertRaises(ConfigError, parse_config, text, "config.json")
        self.assertLess(len(str(error)), 200)

    def test_settings(self) -> None:
        size = "is not from 1 to 2147483648, or 0 for the default"
        hosts = "is not a host name or a pattern"
        level = "is none of debug, info, warn, error, fatal, panic"
        old = "is an older name of"
        for value, line in [
            # Wrong types.
            ({"servers": {}}, "servers: expected a list, got an object"),
            ({"servers": None}, "servers: expected a list, got null"),
            ({"servers": [1]}, "servers[0]: expected an object, got a whole number"),
            ({"backend_config": []}, "backend_config: expected an object, got a list"),
            ({"allowed_hosts": "a,b"}, "allowed_hosts: expected a list, got a string"),
            (
                {"allowed_hosts": ["a", 1]},
                "allowed_hosts[1]: expected a string, got a whole number",
            ),
            ({"log_file": True}, "log_file: expected a string, got true or false"),
            (
                one_server(max_size="1"),
                "servers[0].max_size: expected a whole number, got a string",
            ),
            (one_server(timeout=1.5), "servers[0].timeout: expected a whole number, got a number"),
            (
                one_server(max_clients=True),
                "servers[0].max_clients: expected a whole number, got true or false",
            ),
            (
                {"servers": [{"is_enabled": 1}]},
                "servers[0].is_enabled: expected true or false, got a whole number",
            ),
            (one_server(tls=[]), "servers[0].tls: expected an object, got a list"),
            (
                one_server(tls={"protocols": "tls1.2"}),
                "servers[0].tls.protocols: expected a list, got a string",
            ),
            (
                {"backend_name": "dummy", "backend_config": 1},
                "backend_config: expected an object, got a whole number",
            ),
            # Out of range.
            (one_server(max_size=-1), f"servers[0].max_size: {size}"),
            (one_server(max_size=2**31 + 1), f"servers[0].max_size: {size}"),
            (
                one_server(timeout=86401),
                "servers[0].timeout: is not from 1 to 86400, or 0 for the default",
            ),
            (
                one_server(max_clients=10**30),
                "servers[0].max_clients: is not from 1 to 1000000, or 0 for the default",
            ),
            (one_server(host_name="a b"), "servers[0].host_name: is not a host name"),
            (one_server(host_name="a\r\nb"), "servers[0].host_name: is not a host name"),
            ({"log_level": "loud"}, f"log_level: {level}"),
            ({"log_file": "a\nb"}, "log_file: holds a control character"),
            (
                {"log_file": "/run/x", "pid_file": "/run/./x"},
                "pid_file: is the file of log_file already",
            ),
            (
                {"pid_file": "x", "servers": [{"is_enabled": True, "log_file": "x"}]},
                "pid_file: is the file of servers[0].log_file already",
            ),
            ({"pid_file": "a\0b"}, "pid_file: holds a control character"),
            ({"allowed_hosts": ["a", ""]}, f"allowed_hosts[1]: {hosts}"),
            ({"allowed_hosts": ["a b"]}, f"allowed_hosts[0]: {hosts}"),
            ({"allowed_hosts": ["a\nb"]}, f"allowed_hosts[0]: {hosts}"),
            (
                {"allowed_hosts": ["me@example.com"]},
                "allowed_hosts[0]: holds an @; it is hosts that are named here, not addresses",
            ),
            (
                {"servers": [{}, {}]},
                "servers[1].listen_interface: servers[0] listens there already",
            ),
            ({"servers": [{}]}, "servers: none is enabled; set is_enabled of one to true"),
            # Unknown.
            ({"sever": []}, "sever: unknown setting (did you mean servers?)"),
            ({"GM_MAIL_TABLE": "x"}, "GM_MAIL_TABLE: unknown setting"),
            (
                {"servers": [{"is_enable": True}]},
                "servers[0].is_enable: unknown setting (did you mean is_enabled?)",
            ),
            (
                one_server(tls={"Curve": []}),
                "servers[0].tls.Curve: unknown setting (did you mean curves?)",
            ),
            ({"a\nb\u2028": 1}, "a\\nb\\u2028: unknown setting"),
            ({"\ud800": 1}, "holds half a character (a lone surrogate)"),
            (
                {"servers": ["\udfff"]},
                "servers[0]: holds half a character (a lone surrogate)",
            ),
            ({"": 1}, "unknown setting"),
            ({"x" * 1000: 1}, "x" * 200 + "...: unknown setting"),
            # Of servers.
            (
                one_server(tls={"start_tls_on": True, "public_key_file": "cert"}),
                "servers[0].tls.private_key_file: is missing, and TLS is on",
            ),
            (
                one_server(start_tls_on=True, private_key_file="key"),
                "servers[0].tls.public_key_file: is missing, and TLS is on",
            ),
            (
                one_server(max_recipients=99),
                "servers[0].max_recipients: is not from 100 to 100000, or 0 for the default",
            ),
            (one_server(protocol="pop3"), "servers[0].protocol: is none of smtp, lmtp"),
            (
                one_server(bare_newline="accept"),
                "servers[0].bare_newline: is none of reject, normalize",
            ),
            (
                one_server(reject_early_talkers="61s"),
                "servers[0].reject_early_talkers: is longer than 60 seconds",
            ),
            ({"spill_size": -1}, "spill_size: is below 0"),
            ({"spill_dir": "a\nb"}, "spill_dir: holds a control character"),
            (
                one_server(listen_interface="unix:"),
                "servers[0].listen_interface: has no path behind unix:",
            ),
            (
                one_server(listen_interface="unix:a\nb"),
                "servers[0].listen_interface: holds a control character",
            ),
            (
                one_server(max_command_line=511),
                "servers[0].max_command_line: is not from 512 to 65536, or 0 for the default",
            ),
            (
                one_server(max_text_line=999),
                "servers[0].max_text_line: is not from 1000 to 2147483648, or 0 for the default",
            ),
            (
                one_server(listen_interface="unix:/" + "x" * 107),
                "servers[0].listen_interface: the path is longer than 107 octets",
            ),
            (
                {"servers": [{"listen_interface": "unix:a"}, {"listen_interface": "unix:./a"}]},
                "servers[1].listen_interface: servers[0] listens there already",
            ),
            ({"log_format": "xml"}, "log_format: is none of text, json"),
            (one_server(log_file="a\nb"), "servers[0].log_file: holds a control character"),
            # An older name beside the present one.
            (
                {"backend_config": {"process_stack": "A", "save_process": "A"}},
                f"backend_config.process_stack: {old} backend_config.save_process, "
                "which is there too",
            ),
            (
                {"backend_config": {"validate_processors": "A", "validate_process": "A"}},
                f"backend_config.validate_processors: {old} backend_config.validate_process, "
                "which is there too",
            ),
            (
                one_server(private_key_file="k", tls={"private_key_file": "k"}),
                f"servers[0].private_key_file: {old} servers[0].tls.private_key_file, "
                "which is there too",
            ),
            (
                {"backend_name": "mine"},
                "backend_name: is none of dummy, guerrilla-db-redis, guerrilla-redis-db; "
                "name processors in backend_config.save_process",
            ),
        ]:
            self.assert_refused(json.dumps(value).encode(), f"config.json: {line}")

    def test_listen_interface(self) -> None:
        for interface, cause in [
            ("localhost", "has no port; write host:port, :port, [IPv6 address]:port or unix:path"),
            ("localhost:", "the port is not a number from 0 to 65535"),
            ("localhost:smtp", "the port is not a number from 0 to 65535"),
            (":65536", "the port is not a number from 0 to 65535"),
            (":-1", "the port is not a number from 0 to 65535"),
            (":\u0662", "the port is not a number from 0 to 65535"),
            ("::1:25", "an IPv6 address needs [brackets]"),
            ("[::g]:25", "what is in brackets is not an IPv6 address"),
            ("[127.0.0.1]:25", "what is in brackets is not an IPv6 address"),
            ("127.1:25", "the host is not an IPv4 address"),
            ("256.0.0.1:25", "the host is not an IPv4 address"),
            ("a host:25", "the host is neither a name nor an address"),
            ("*:25", "the host is neither a name nor an address"),
        ]:
            self.assert_refused(
                json.dumps(one_server(listen_interface=interface)).encode(),
                f"config.json: servers[0].listen_interface: {cause}",
            )

    def test_no_secret_is_shown(self) -> None:
        class Store(msgspec.Struct):
            sql_dsn: int = 0
            mysql_pass: bool = False

        for name in ("sql_dsn", "mysql_pass"):
            error = self.assertRaises(ConfigError, convert_settings, {name: "hunter2"}, Store)
            self.assertNotIn("hunter2", str(error))
        self.assert_refused(
            b'{"log_file": "hunter2" "x"}',
            "config.json: not JSON: Expecting ',' delimiter (line 1, column 24)",
        )

    def test_files(self) -> None:
        missing = self.mktemp()
        error = self.assertRaises(ConfigError, load_config, missing)
        self.assertEqual(str(error), f"{missing}: cannot be read: No such file or directory")
        directory = self.mktemp()
        os.mkdir(directory)
        error = self.assertRaises(ConfigError, load_config, directory)
        self.assertEqual(str(error), f"{directory}: cannot be read: Is a directory")
        pipe = self.mktemp()
        os.mkfifo(pipe)
        error = self.assertRaises(ConfigError, load_config, pipe)
        self.assertEqual(str(error), f"{pipe}: cannot be read: Not a regular file")
        broken = self.mktemp()
        with open(broken, "wb"):
            pass
        error = self.assertRaises(ConfigError, load_config, broken)
        self.assertEqual(str(error), f"{broken}: the file is empty")

    def test_an_embedder_is_refused_like_a_file(self) -> None:
        error = self.assertRaises(ConfigError, ServerConfig, max_size=-1)
        self.assertEqual(str(error), "max_size: is not from 1 to 2147483648, or 0 for the default")
        error = self.assertRaises(ConfigError, Config, servers=(ServerConfig(),))
        self.assertEqual(str(error), "servers: none is enabled; set is_enabled of one to true")


class Interfaces(SynchronousTestCase):
    def test_address(self) -> None:
        for interface, address in [
            ("127.0.0.1:25", ("127.0.0.1", 25)),
            (":0", ("", 0)),
            ("[0:0::1]:65535", ("::1", 65535)),
            ("Mail.Example.com:2525", ("mail.example.com", 2525)),
            ("", ("127.0.0.1", 2525)),
        ]:
            self.assertEqual(ServerConfig(listen_interface=interface).interface[:2], address)

    def test_two_servers_in_one_place(self) -> None:
        for one, other, refused in [
            (":2525", "0.0.0.0:2525", True),
            (":2525", "[::1]:2525", True),
            ("127.0.0.1:2525", "0.0.0.0:2525", True),
            ("127.0.0.1:2525", "[::]:2525", True),
            ("[::1]:2525", "[0::1]:2525", True),
            ("127.0.0.1:0", "127.0.0.1:0", True),
            ("[::1]:2525", "0.0.0.0:2525", False),
            ("127.0.0.1:2525", "127.0.0.2:2525", False),
            ("127.0.0.1:2525", ":2526", False),
            ("127.0.0.1:0", ":0", False),
        ]:
            servers = tuple(
                ServerConfig(is_enabled=True, listen_interface=interface)
                for interface in (one, other)
            )
            if refused:
                error = self.assertRaises(ConfigError, Config, servers=servers)
                self.assertEqual(
                    str(error),
                    "servers[1].listen_interface: servers[0] listens there already",
                )
            else:
                self.assertEqual(Config(servers=servers).servers, servers)


class Defaults(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(socket, "gethostname", lambda: "mx.example.net")

    def test_without_a_file(self) -> None:
        config = Config()
        self.assertEqual(
            (config.log_file, config.log_level, config.allowed_hosts, config.pid_file),
            ("stderr", "info", ("mx.example.net",), ""),
        )
        self.assertEqual(
            config.backend_config,
            {
                "save_process": "HeadersParser|Debugger|Hasher|Header|Sql",
                "log_received_mails": True,
                "save_workers_size": 1,
                "sql_driver": "sqlite3",
                "sql_dsn": "guerrilla.sqlite3",
                "mail_table": "new_mail",
            },
        )
        (server,) = config.servers
        self.assertTrue(server.is_enabled)
        self.assertEqual(server.host_name, "mx.example.net")
        self.assertEqual(server.interface, Interface("127.0.0.1", 2525))
        self.assertEqual(server.max_size, 10 * 1024 * 1024)
        for name, default in {
            "protocol": "smtp",
            "message_timeout": 3600,
            "min_data_rate": 64,
            "max_recipients": 100,
            "max_errors": 5,
            "max_messages": 0,
            "max_command_line": 2048,
            "max_text_line": 1024 * 1024,
            "bare_newline": "reject",
            "reject_early_talkers": 0,
            "proxyon": False,
            "xclient_on": False,
            "trusted_proxies": ("127.0.0.0/8", "::1"),
        }.items():
            self.assertEqual(getattr(server, name), default, name)
        self.assertEqual(
            (config.spill_size, config.spill_dir, config.max_inflight_bytes),
            (1024 * 1024, "", 256 * 1024 * 1024),
        )
        self.assertEqual((server.timeout, server.max_clients), (30, 100))
        self.assertEqual((config.log_format, config.shutdown_timeout), ("text", 30))
        self.assertEqual(server.tls, TLSConfig())

    def test_an_empty_value_is_a_missing_one(self) -> None:
        empty = {
            "log_file": "",
            "log_level": "",
            "allowed_hosts": [],
            "servers": [
                {
                    "is_enabled": True,
                    "host_name": "",
                    "listen_interface": "",
                    "max_size": 0,
                    "timeout": 0,
                    "max_clients": 0,
                    "log_file": "",
                    "tls": {},
                }
            ],
        }
        self.assertEqual(parse(empty), LoadedConfig(Config()))
        self.assertEqual(parse({"servers": []}), LoadedConfig(Config()))
        self.assertEqual(parse({}), LoadedConfig(Config()))

    def test_a_backend_config_is_kept_as_it_is(self) -> None:
        backend = {"save_process": "Mine", "mine": [1, {"deep": None}], "\u2028": 1.5}
        self.assertEqual(parse({"backend_config": backend}).config.backend_config, backend)
        self.assertEqual(parse({"backend_config": {}}).config, Config())

    def test_two_defaults_share_no_backend_config(self) -> None:
        self.assertIsNot(Config().backend_config, Config().backend_config)


class Files(SynchronousTestCase):
    def test_the_example(self) -> None:
        loaded = load_config(EXAMPLE)
        self.assertEqual(loaded.warnings, ())
        self.assertEqual(loaded.config.allowed_hosts, (".",))
        self.assertEqual(
            [s.interface for s in loaded.config.servers], [Interface("127.0.0.1", 2525)]
        )
        self.assertEqual(
            loaded.config.backend_config,
            Config().backend_config,
        )

    def test_every_setting(self) -> None:
        tls = {
            "start_tls_on": False,
            "tls_always_on": False,
            "private_key_file": "key",
            "public_key_file": "cert",
            "root_cas_file": "roots",
            "client_auth_type": "NoClientCert",
            "protocols": ["tls1.2", "tls1.3"],
            "ciphers": ["TLS_AES_128_GCM_SHA256"],
            "curves": ["X25519"],
            "prefer_server_cipher_suites": True,
        }
        server = {
            "is_enabled": True,
            "host_name": "[192.0.2.1]",
            "listen_interface": "[::1]:25",
            "max_size": 1,
            "timeout": 180,
            "max_clients": 1000,
            "protocol": "lmtp",
            "message_timeout": "1m30s",
            "min_data_rate": 1,
            "max_recipients": 1000,
            "max_errors": 1,
            "max_messages": 1,
            "max_command_line": 512,
            "max_text_line": 1000,
            "bare_newline": "normalize",
            "reject_early_talkers": "250ms",
            "log_file": "stdout",
            "xclient_on": True,
            "proxyon": True,
            "trusted_proxies": ["10.0.0.0/8"],
            "tls": tls,
        }
        whole = {
            "log_file": "stdout",
            "log_level": "Warning",
            "log_format": "json",
            "shutdown_timeout": "1m30s",
            "allowed_hosts": ["*.example.com", "[192.0.2.1]", "m\u00fcller.example"],
            "pid_file": "/run/guerrilla.pid",
            "processes": 2,
            "spill_size": 1,
            "spill_dir": "/var/tmp",
            "max_inflight_bytes": 1,
            "backend_config": {"save_process": "Debugger"},
            "servers": [server],
        }
        loaded = parse(whole)
        self.assertEqual(loaded.warnings, ())
        written = json.loads(msgspec.json.encode(loaded.config, enc_hook=float))
        durations = {"message_timeout": 90.0, "reject_early_talkers": 0.25}
        read = {"log_level": "warn", "shutdown_timeout": 90.0}
        self.assertEqual(written, {**whole, **read, "servers": [{**server, **durations}]})
        self.assertEqual(setting_names(ServerConfig), set(server))
        self.assertEqual(setting_names(TLSConfig), set(tls))
        self.assertEqual(setting_names(Config), set(whole))

    def test_a_configuration_does_not_change(self) -> None:
        config = Config()
        for settings_, name in [
            (config, "log_file"),
            (config.servers[0], "timeout"),
            (config.servers[0].tls, "ciphers"),
        ]:
            self.assertRaises(AttributeError, setattr, settings_, name, getattr(settings_, name))


class OlderNames(SynchronousTestCase):
    def test_chains(self) -> None:
        for old in ("process_stack", "save_processors"):
            loaded = parse({"backend_config": {old: "A|B", "validate_processors": "C"}})
            self.assertEqual(
                loaded.config.backend_config, {"save_process": "A|B", "validate_process": "C"}
            )
            self.assertEqual(
                loaded.warnings,
                (
                    f"backend_config.{old}: older name of backend_config.save_process",
                    "backend_config.validate_processors: "
                    "older name of backend_config.validate_process",
                ),
            )

    def test_tls_of_a_server(self) -> None:
        flat = {
            "start_tls_on": False,
            "tls_always_on": False,
            "private_key_file": "key",
            "public_key_file": "cert",
        }
        loaded = parse(one_server(**flat, tls={"curves": ["P256"]}))
        self.assertEqual(
            loaded.config.servers[0].tls,
            TLSConfig(private_key_file="key", public_key_file="cert", curves=("P256",)),
        )
        self.assertEqual(
            loaded.warnings,
            tuple(f"servers[0].{name}: older name of servers[0].tls.{name}" for name in flat),
        )

    def test_backend_name(self) -> None:
        for name, chain in [
            ("dummy", "HeadersParser|Debugger"),
            ("guerrilla-db-redis", "HeadersParser|Hasher|Header|GuerrillaRedisDB"),
        ]:
            loaded = parse({"backend_name": name, "backend_config": {"mail_table": "t"}})
            self.assertEqual(
                loaded.config.backend_config, {"mail_table": "t", "save_process": chain}
            )
            self.assertEqual(
                loaded.warnings,
                (f"backend_name: older setting, taken as backend_config.save_process {chain}",),
            )
        loaded = parse({"backend_name": "dummy"})
        self.assertEqual(loaded.config.backend_config, {"save_process": "HeadersParser|Debugger"})

    def test_backend_name_gives_way_to_processors(self) -> None:
        loaded = parse({"backend_name": "mine", "backend_config": {"process_stack": "A"}})
        self.assertEqual(loaded.config.backend_config, {"save_process": "A"})
        self.assertEqual(
            loaded.warnings[1:],
            ("backend_name: ignored, since backend_config.save_process is there",),
        )


class Gateway(msgspec.Struct, frozen=True, rename={"timeout": "gw_save_timeout"}):
    workers: int = 1
    timeout: Duration = Duration(30)
    limit: Duration | None = None


class Required(msgspec.Struct):
    table: str


class ProcessorSettings(SynchronousTestCase):
    def test_only_its_own_settings_are_taken(self) -> None:
        self.assertEqual(
            convert_settings({"workers": 3, "other": object(), "limit": "1m"}, Gateway),
            Gateway(workers=3, limit=Duration(60)),
        )
        taken = convert_settings({"gw_save_timeout": "1m30s", "timeout": 5}, Gateway)
        self.assertEqual(taken.timeout, 90.0)
        self.assertIsInstance(taken.timeout, Duration)
        self.assertEqual(setting_names(Gateway), {"workers", "gw_save_timeout", "limit"})

    def test_an_embedder_may_give_a_duration(self) -> None:
        self.assertEqual(convert_settings({"gw_save_timeout": Duration(2)}, Gateway).timeout, 2.0)

    def test_refusals(self) -> None:
        unit = 'expected a duration with its unit, such as "30s", in quotes'
        bad = 'not a duration, such as "30s", "250ms" or "1m30s"'
        cases: list[tuple[dict[str, object], type[Any], str]] = [
            ({"workers": "1"}, Gateway, "workers: expected a whole number, got a string"),
            ({"gw_save_timeout": 30}, Gateway, f"gw_save_timeout: {unit}"),
            ({"gw_save_timeout": "30"}, Gateway, f"gw_save_timeout: {bad}"),
            ({"gw_save_timeout": "-1s"}, Gateway,
             "gw_save_timeout: a duration must not be negative"),
            ({"limit": 1}, Gateway, f"limit: {unit}"),
            ({}, Required, "table: is missing"),
        ]  # fmt: skip
        for given_, kind, line in cases:
            error = self.assertRaises(ConfigError, convert_settings, given_, kind)
            self.assertEqual(str(error), f"backend_config.{line}")

    def test_a_type_that_json_cannot_give_is_the_programmers_error(self) -> None:
        class Wrong(msgspec.Struct):
            log: BaseException

        self.assertRaises(NotImplementedError, convert_settings, {"log": 1}, Wrong)

    def test_unknown_settings(self) -> None:
        known = {"save_process", "mail_table"}
        self.assertEqual(
            unknown_settings({"save_proces": 1, "mail_table": 2, "zzz\n": 3}, known),
            [
                "backend_config.save_proces: no processor of the chain has this setting "
                "(did you mean save_process?)",
                "backend_config.zzz\\n: no processor of the chain has this setting",
            ],
        )

    def test_did_you_mean(self) -> None:
        known = ("max_size", "max_clients", "timeout")
        self.assertEqual(did_you_mean("Max_Sizes", known), " (did you mean max_size?)")
        self.assertEqual(did_you_mean("time_out", known), " (did you mean timeout?)")
        self.assertEqual(did_you_mean("zebra", known), "")
        self.assertEqual(did_you_mean("timeout" * 1000, known), "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = sorted(
    setting_names(Config)
    | setting_names(ServerConfig)
    | {"backend_name", "process_stack", "validate_processors", "max_sise", "start_tls_on"}
)
SETTINGS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4)


class Anything(SynchronousTestCase):
    """Whatever the bytes, there is a configuration or one printable line."""

    def assert_judged(self, text: bytes) -> None:
        try:
            parse_config(text, "config.json")
        except ConfigError as error:
            self.assertTrue(str(error).startswith("config.json: "))
            self.assertTrue(str(error).isprintable())

    @settings(deadline=None)
    @given(st.binary())
    def test_bytes(self, text: bytes) -> None:
        self.assert_judged(text)

    @settings(deadline=None)
    @given(JSON)
    def test_json(self, value: object) -> None:
        self.assert_judged(json.dumps(value).encode())

    @settings(deadline=None, max_examples=300)
    @given(SETTINGS, st.lists(SETTINGS, max_size=2), SETTINGS)
    def test_settings(
        self, top: dict[str, object], servers: list[object], backend: dict[str, object]
    ) -> None:
        self.assert_judged(json.dumps({**top, "servers": servers}).encode())
        self.assert_judged(json.dumps({"backend_config": backend, **top}).encode())
