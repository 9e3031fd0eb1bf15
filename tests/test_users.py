"""Another user's rights for a while."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import tempfile
from pathlib import Path
from unittest import SkipTest

from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase

from guerrilla_tw.users import SAME_USER, RightsError, User, user_with

NOBODY = pwd.getpwnam("nobody")


class UserTestCase(SynchronousTestCase):
    """A directory of root's that everybody may enter, and one in it of somebody else's."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can become somebody else")
        # The directories above trial's own may be closed to others.
        self.directory = Path(tempfile.mkdtemp(prefix="guerrilla-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.directory.chmod(0o755)
        self.user = User(NOBODY.pw_uid, NOBODY.pw_gid)
        self.own = self.directory / "own"
        self.own.mkdir()
        os.chown(self.own, self.user.uid, self.user.gid)


def identity() -> tuple[int, int, int, int, list[int]]:
    return os.getuid(), os.geteuid(), os.getgid(), os.getegid(), sorted(os.getgroups())


def forbid(test: SynchronousTestCase, name: str) -> MonkeyPatcher:
    """
    Take from root what it needs for a call.

    :param name: of one of those that change whose rights a process has.
    :returns: what gives it back before the test ends.
    """

    def refuse(_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    patch: MonkeyPatcher = test.patch(os, name, refuse)
    return patch


class RightsTests(UserTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.assertEqual, identity(), identity())

    def test_user(self) -> None:
        before = identity()
        with self.user.rights():
            self.assertEqual(identity(), (0, self.user.uid, 0, self.user.gid, [self.user.gid]))
            (self.own / "file").touch()
            with self.assertRaises(PermissionError):
                (self.directory / "file").touch()
        self.assertEqual(identity(), before)
        found = (self.own / "file").stat()
        self.assertEqual((found.st_uid, found.st_gid), (self.user.uid, self.user.gid))

    def test_all_groups_of_the_user(self) -> None:
        for user in pwd.getpwall():
            groups = os.getgrouplist(user.pw_name, user.pw_gid)
            if user.pw_uid and len(groups) > 1:
                with User(user.pw_uid, user.pw_gid).rights():
                    self.assertEqual(sorted(os.getgroups()), sorted(groups))
                return
        raise SkipTest("nobody is in several groups here")

    def test_refusal_names_the_user(self) -> None:
        before = identity()
        with self.assertRaises(PermissionError) as caught, self.user.rights():
            (self.directory / "file").touch()
        self.assertEqual(caught.exception.strerror, "Permission denied for user nobody")
        self.assertEqual(identity(), before)

    def test_user_without_a_name(self) -> None:
        user = User(54321, 54322)
        self.assertEqual(user.name, "54321")
        with user.rights():
            self.assertEqual(identity()[1:], (54321, 0, 54322, [54322]))

    def test_owner_without_a_name(self) -> None:
        """The group of his number may be one that opens root's files, as 42 is on Debian."""
        self.assertEqual(user_with(54321), User(54321, 65534))
        self.assertEqual(user_with(self.user.uid), self.user)

    def test_root_that_may_not_become_another(self) -> None:
        """As in a container."""
        before = identity()
        for name in ("setegid", "setgroups", "seteuid"):
            patch = forbid(self, name)
            with self.assertRaises(RightsError) as caught, self.user.rights():
                self.fail("it has them")
            patch.restore()
            self.assertEqual(
                caught.exception.strerror,
                "cannot take the rights of user nobody: Operation not permitted",
            )
            self.assertEqual(identity(), before)

    def test_group_alone(self) -> None:
        before = identity()
        with User(gid=7).rights():
            self.assertEqual(identity(), (0, 0, 0, 7, before[-1]))
        self.assertEqual(identity(), before)

    def test_nobody_else(self) -> None:
        before = identity()
        with self.assertRaises(PermissionError) as caught, SAME_USER.rights():
            self.assertEqual(identity(), before)
            raise PermissionError(1, "no")
        self.assertEqual(caught.exception.strerror, "no")

    def test_process_that_has_become_the_user(self) -> None:
        """It has no others any more."""
        self.assertFalse(self.user.has_come)
        with self.user.rights():
            before = identity()
            self.assertTrue(self.user.has_come)
            with self.user.rights():
                self.assertEqual(identity(), before)
            self.assertEqual(identity(), before)
        self.assertFalse(SAME_USER.has_come)
        self.assertFalse(User(0, 0).has_come)
