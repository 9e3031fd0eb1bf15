"""Who else can write to a place."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from guerrilla_tw.trust import EVERYBODY, everybody_writes, others_can_read, who_else_writes
from tests.test_users import NOBODY, UserTestCase


class PlaceTestCase(UserTestCase):
    """As the parent, with a file in each directory."""

    def setUp(self) -> None:
        super().setUp()
        self.file = self.directory / "file"
        self.file.touch()
        self.file.chmod(0o644)

    def assert_stranger(
        self, who: str, path: str | Path, place: str | Path, uids: tuple[int, ...] = ()
    ) -> None:
        found = who_else_writes(str(path), uids)
        self.assertEqual(found and tuple(found), (who, str(place)))
        self.assertEqual(str(found), f"{who} can write to {place}")

    def assert_none(self, path: str | Path, uids: tuple[int, ...] = ()) -> None:
        self.assertIsNone(who_else_writes(str(path), uids))

    def link(self, name: str, target: str | Path) -> str:
        """:returns: the path of a link of root's in a directory of root's."""
        link = self.directory / name
        link.symlink_to(target)
        return str(link)


class WhoElseWritesTests(PlaceTestCase):
    def test_file(self) -> None:
        self.assert_none(self.file)
        self.file.chmod(0o646)
        self.assert_stranger(EVERYBODY, self.file, self.file)

    def test_directory_above(self) -> None:
        """Another file can be put in its place."""
        self.directory.chmod(0o757)
        self.assert_stranger(EVERYBODY, self.file, self.directory)

    def test_directory_where_nobody_removes_what_is_anothers(self) -> None:
        self.directory.chmod(0o1777)
        self.assert_none(self.file)
        # What is to be made in it may be made by others.
        self.assert_stranger(EVERYBODY, self.directory, self.directory)
        self.assert_stranger(EVERYBODY, self.directory / "new", self.directory)
        self.assert_stranger(EVERYBODY, self.directory / "new" / "below", self.directory)
        os.chown(self.file, NOBODY.pw_uid, -1)
        self.assert_stranger("user nobody", self.file, self.file)

    def test_not_there(self) -> None:
        self.assert_none(self.directory / "new")
        self.assert_none(self.directory / "new" / "below")
        self.assert_stranger("user nobody", self.own / "new", self.own)

    def test_owner(self) -> None:
        self.assert_stranger("user nobody", self.own, self.own)
        self.assert_none(self.own, (NOBODY.pw_uid,))
        (self.own / "of root's").mkdir()
        self.assert_stranger("user nobody", self.own / "of root's", self.own)
        self.assert_none(self.own / "of root's", (NOBODY.pw_uid,))
        os.chown(self.own, 54321, -1)
        self.assert_stranger("user 54321", self.own, self.own)

    def test_group(self) -> None:
        self.file.chmod(0o664)
        group = grp.getgrgid(7).gr_name
        os.chown(self.file, 0, 7)
        self.assert_stranger(f"group {group}", self.file, self.file)
        os.chown(self.file, 0, 54321)
        self.assert_stranger("group 54321", self.file, self.file)

    def test_group_of_ones_own(self) -> None:
        self.file.chmod(0o664)
        os.chown(self.file, 0, 54321)
        mine = pwd.struct_passwd(("me", "x", 12345, 54321, "", "/", ""))
        users = [pwd.getpwuid(0), mine]
        members: list[str] = []
        self.patch(pwd, "getpwall", lambda: users)
        self.patch(grp, "getgrgid", lambda _: grp.struct_group(("me", "x", 54321, members)))
        self.assert_none(self.file, (12345,))
        members.append("me")
        self.assert_none(self.file, (12345,))
        members.append("another")
        self.assert_stranger("group me", self.file, self.file, (12345,))
        members.remove("another")
        users.append(pwd.struct_passwd(("another", "x", 12346, 54321, "", "/", "")))
        self.assert_stranger("group me", self.file, self.file, (12345,))
        self.assert_none(self.file, (12345, 12346))

    def test_links(self) -> None:
        """As /var/run is one."""
        (self.directory / "run").mkdir()
        self.assert_none(self.link("good", self.directory / "run"))
        through = self.link("by somebody's", "own/../run")
        self.assert_stranger("user nobody", through, self.own)
        self.assert_none(self.link("other", "good/../run"))
        self.assert_stranger("user nobody", self.link("to somebody's", self.own), self.own)
        self.assert_stranger("user nobody", f"{self.directory}/to somebody's/../run", self.own)

    def test_link_by_way_of_somebodys(self) -> None:
        """Where it leads to is root's, today."""
        (self.directory / "run").mkdir()
        (self.own / "back").symlink_to(self.directory / "run")
        self.assert_stranger("user nobody", self.own / "back", self.own)
        self.assert_stranger("user nobody", self.link("there", self.own / "back"), self.own)

    def test_somebodys_link_where_everybody_may_make_some(self) -> None:
        self.directory.chmod(0o1777)
        link = self.link("led astray", "/etc")
        os.chown(link, NOBODY.pw_uid, -1, follow_symlinks=False)
        self.assert_stranger("user nobody", link, link)
        self.assert_stranger("user nobody", f"{link}/passwd", link)

    def test_link_to_nothing(self) -> None:
        self.assert_none(self.link("ahead", self.directory / "nothing"))
        self.assert_stranger("user nobody", self.link("off", self.own / "nothing"), self.own)

    def test_links_in_a_circle(self) -> None:
        self.assertRaises(OSError, who_else_writes, self.link("circle", "circle"), ())

    def test_what_nobody_can_write(self) -> None:
        """As a file system that is mounted to be read only."""
        self.directory.chmod(0o777)
        usual = os.statvfs

        def statvfs(path: str) -> os.statvfs_result:
            found = list(usual(path))
            found[8] |= os.ST_RDONLY
            return os.statvfs_result(found)

        self.patch(os, "statvfs", statvfs)
        self.assert_none(self.directory / "new")

    def test_relative(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        self.assert_none("file")
        self.assert_stranger("user nobody", "own/new", self.own)


class EverybodyWritesTests(PlaceTestCase):
    def assert_told(self, path: str | Path, text: str) -> None:
        self.assertEqual(str(everybody_writes(str(path))), text)

    def test_everybody(self) -> None:
        self.file.chmod(0o666)
        self.assert_told(self.file, f"everybody can write to {self.file}")
        self.directory.chmod(0o777)
        self.assert_told(self.file, f"everybody can write to {self.directory}")

    def test_owners_and_groups_are_meant(self) -> None:
        self.file.chmod(0o664)
        os.chown(self.file, NOBODY.pw_uid, 7)
        self.assertIsNone(everybody_writes(str(self.file)))
        self.assertIsNone(everybody_writes(str(self.own / "new")))

    def test_where_everybody_may_make_files(self) -> None:
        self.directory.chmod(0o1777)
        self.assertIsNone(everybody_writes(str(self.file)))
        self.assert_told(self.directory / "new", f"everybody can write to {self.directory}")
        os.chown(self.file, NOBODY.pw_uid, -1)
        self.assert_told(self.file, f"user nobody can write to {self.file}")


class OthersCanReadTests(PlaceTestCase):
    def test_mode(self) -> None:
        self.assertTrue(others_can_read(str(self.file)))
        self.file.chmod(0o640)
        self.assertFalse(others_can_read(str(self.file)))

    def test_directories_that_it_is_in(self) -> None:
        (self.directory / "in").mkdir()
        inner = self.directory / "in" / "inner"
        inner.touch()
        inner.chmod(0o644)
        self.assertTrue(others_can_read(str(inner)))
        self.directory.chmod(0o750)
        self.assertFalse(others_can_read(str(inner)))

    def test_link(self) -> None:
        secret = self.own / "secret"
        secret.touch(0o600)
        self.assertFalse(others_can_read(self.link("to a secret", secret)))
        self.assertTrue(others_can_read(self.link("to a file", self.file)))

    def test_not_there(self) -> None:
        self.assertRaises(OSError, others_can_read, str(self.directory / "nothing"))
