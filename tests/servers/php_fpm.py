"""A private php-fpm."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.integration.daemon_process import free_port
from tests.integration.programs import missing
from tests.servers.process import PrivateServer

_CONFIG = """
[global]
error_log = {directory}/php-fpm.log
[tests]
listen = {listen}
pm = static
pm.max_children = {workers}
php_admin_value[post_max_size] = {post_max_size}
php_admin_value[memory_limit] = 512M
php_admin_value[sys_temp_dir] = {directory}
php_admin_flag[display_errors] = off
php_admin_flag[log_errors] = on
"""


class PhpFpm(PrivateServer):
    """
    php-fpm without a php.ini.

    :param tcp: listen on a port of 127.0.0.1 rather than on a UNIX socket.
    :param post_max_size: the setting of PHP.
    :param workers: processes that run scripts.

    .. attribute:: settings

        The daemon's settings to connect to it.
    """

    def __init__(self, *, tcp: bool = False, post_max_size: str = "8M", workers: int = 2) -> None:
        # Debian has its version in the name.
        programs = sorted(Path("/usr/sbin").glob("php-fpm*"))
        self._program = programs[-1] if programs else missing("php-fpm")
        super().__init__()
        address = f"127.0.0.1:{free_port()}" if tcp else f"{self.directory}/socket"
        self.settings = {
            "fcgi_connection_type": "tcp" if tcp else "unix",
            "fcgi_connection_address": address,
        }
        (self.directory / "php-fpm.conf").write_text(
            _CONFIG.format(
                directory=self.directory,
                listen=address,
                workers=workers,
                post_max_size=post_max_size,
            )
        )

    def user(self) -> int | None:
        """:returns: nobody; root it would be only if told to."""
        return self.unprivileged_user()

    def command(self) -> Sequence[str]:
        """:returns: the command line."""
        options = ("--nodaemonize", "--no-php-ini", "--fpm-config", "php-fpm.conf")
        return (str(self._program), *options, "--prefix", str(self.directory))

    def is_ready(self) -> bool:
        """:returns: whether it accepts connections."""
        address = self.settings["fcgi_connection_address"]
        if self.settings["fcgi_connection_type"] == "unix":
            with closing(socket.socket(socket.AF_UNIX)) as probe:
                return probe.connect_ex(address) == 0
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0

    def write_script(self, name: str, text: str) -> str:
        """
        Give it a script.

        :param text: PHP, without ``<?php``.
        :returns: its path.
        """
        path = self.directory / name
        path.write_text(f"<?php\n{text}\n")
        return str(path)
