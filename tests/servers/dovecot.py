"""A Dovecot of a test's own, to read Maildirs over IMAP."""

from __future__ import annotations

import grp
import imaplib
import os
import pwd
from collections.abc import Sequence

from tests.integration.daemon_process import answers, free_port
from tests.integration.programs import DEADLINE, find_program
from tests.servers.process import PrivateServer

_PASSWORD = "secret"
# Below the first, which may be root's, all processes are one user's: that needs no root. None of
# them leaves for another root directory, which would.
_CONFIG = """
base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = {uid}
first_valid_gid = {gid}
mail_location = maildir:{directory}/{maildirs}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
}}
service anvil {{
  chroot =
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/home/%u allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
}}
"""


class Dovecot(PrivateServer):
    """
    An IMAP server for Maildirs that are all of one user.

    :param maildirs: where they are, below its directory; ``%u`` stands for the name that a client
        logs in with.

    .. attribute:: owner

        The ids of user and group that it reads them as.
    """

    def __init__(self, maildirs: str) -> None:
        super().__init__()
        self.port = free_port()
        self._program = find_program("dovecot")
        # It may be root itself, but reads nobody's mail as root.
        user = self.unprivileged_user()
        entry = pwd.getpwuid(os.geteuid() if user is None else user)
        self.owner = (entry.pw_uid, entry.pw_gid)
        self._config = self.directory / "dovecot.conf"
        self._config.write_text(
            _CONFIG.format(
                directory=self.directory,
                user=entry.pw_name,
                group=grp.getgrgid(entry.pw_gid).gr_name,
                uid=entry.pw_uid,
                gid=entry.pw_gid,
                maildirs=maildirs,
                port=self.port,
                password=_PASSWORD,
            )
        )

    def command(self) -> Sequence[str]:
        """See the base class."""
        return [self._program, "-F", "-c", str(self._config)]

    def is_ready(self) -> bool:
        """See the base class."""
        return answers(self.port)

    def messages(self, user: str) -> list[bytes]:
        """
        Fetch what is in somebody's inbox.

        :returns: each message as it is on the wire, with CR LF, in order of arrival.
        """
        client = imaplib.IMAP4("127.0.0.1", self.port, DEADLINE)
        with client:
            client.login(user, _PASSWORD)
            status, (count,) = client.select()
            assert status == "OK", count
            if count == b"0":
                return []
            _, parts = client.fetch("1:*", "(RFC822.SIZE BODY.PEEK[])")
            # Between the messages are the closing brackets.
            return [part[1] for part in parts if isinstance(part, tuple)]
