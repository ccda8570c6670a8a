# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Change, Entry, summary

from tests.planted import KINDS, USER, put, swapping, unharmed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root only")


def change(tmp_path: Path, *entries: Entry) -> Change:
    return Change(entries, str(tmp_path / "record" / "deployed.json"))


def test_what_is_wanted_is_made_once_and_removed_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    folder, file, link = (str(tmp_path / name) for name in ("folder", "folder/file", "link"))
    wanted = [Entry(folder, 0o750), Entry(file, 0o640, b"content\n"), Entry(link, 0o777, target="folder")]
    first = change(tmp_path, *wanted)
    assert summary(first) == {"deployed": [folder, file, link], "removed": []}
    first.apply()
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o640
    assert os.readlink(link) == "folder"
    assert not change(tmp_path, *wanted).changed

    (tmp_path / "folder" / "somebody's").touch()
    rest = change(tmp_path, Entry(link, 0o777, target="elsewhere"))
    assert summary(rest) == {"deployed": [link], "removed": [folder, file]}
    rest.apply()
    assert sorted(os.listdir(folder)) == ["somebody's"]

    change(tmp_path).apply()
    assert not os.path.lexists(link)
    assert not (tmp_path / "record").exists()


def test_content_mode_and_kind_are_corrected(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for spoil in (
        lambda: path.write_text("changed"),
        lambda: path.chmod(0o600),
        lambda: (path.unlink(), path.mkdir()),
        lambda: (path.rmdir() if path.is_dir() else path.unlink(), path.symlink_to("nowhere")),
    ):
        change(tmp_path, Entry(str(path), 0o644, b"right")).apply()
        spoil()
        again = change(tmp_path, Entry(str(path), 0o644, b"right"))
        assert again.changed
        again.apply()
        assert path.read_bytes() == b"right"
        assert not path.is_symlink()


def test_a_difference_shows_content_but_no_secret(tmp_path: Path) -> None:
    plain = Entry(str(tmp_path / "plain"), 0o644, b"shown\n")
    secret = Entry(str(tmp_path / "secret"), 0o640, b"hidden\n", secret=True)
    shown = str(change(tmp_path, plain, secret).diff())
    assert "shown" in shown
    assert "hidden" not in shown
    assert not (tmp_path / "plain").exists()


def test_a_directory_of_somebody_elses_is_left_as_it_is_and_stays(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir(mode=0o700)
    wanted = [Entry(str(path), 0o775, if_missing=True) for path in (theirs, ours)]
    change(tmp_path, *wanted).apply()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (theirs, ours)] == [0o700, 0o775]
    ours.chmod(0o700)
    assert summary(change(tmp_path, *wanted))["deployed"] == [str(ours)]
    change(tmp_path).apply()
    assert theirs.is_dir() and not ours.exists()


def test_folders_that_were_made_above_something_go_with_it_when_nothing_else_is_in_them(tmp_path: Path) -> None:
    file = tmp_path / "above" / "further" / "file"
    for _time in range(2):
        change(tmp_path, Entry(str(file), 0o644, b"")).apply()
    assert not change(tmp_path, Entry(str(file), 0o644, b"")).changed
    change(tmp_path).apply()
    assert not (tmp_path / "above").exists()

    (tmp_path / "above").mkdir()
    change(tmp_path, Entry(str(file), 0o644, b"")).apply()
    change(tmp_path).apply()
    assert list((tmp_path / "above").iterdir()) == [], "it was there before"


def test_files_that_others_left_go_where_that_is_asked_for(tmp_path: Path) -> None:
    kept, left, folder = tmp_path / "kept.cfg", tmp_path / "left.cfg", tmp_path / "folder.cfg"
    left.touch()
    folder.mkdir()
    purging = Change(
        [Entry(str(kept), 0o644, b"")], str(tmp_path / "record" / "deployed.json"), [str(left), str(folder)]
    )
    assert purging.changed and summary(purging)["removed"] == [str(left)]
    purging.apply()
    assert kept.exists() and folder.exists() and not left.exists()


def test_a_difference_names_owners_and_only_counts_what_nobody_reads(tmp_path: Path) -> None:
    release = [Entry(str(tmp_path / "1"), 0o755, bulk=True)]
    release += [Entry(str(tmp_path / "1" / name), 0o644, b"import this\n", bulk=True) for name in ("a.py", "b.py")]
    (tmp_path / "there").write_text("old\n", encoding="ascii")
    first = change(tmp_path, *release, Entry(str(tmp_path / "there"), 0o640, b"new\n", owner="nobody"))
    assert first.diff() == [
        {
            "before_header": str(tmp_path / "1"),
            "after_header": str(tmp_path / "1"),
            "before": "",
            "after": "3 files made or changed\n",
        },
        {
            "before_header": str(tmp_path / "there"),
            "after_header": str(tmp_path / "there"),
            "before": "root:root 0644\nold\n",
            "after": "nobody:root 0640\nnew\n",
        },
    ]
    first.apply()
    gone = change(tmp_path, Entry(str(tmp_path / "there"), 0o640, b"new\n", owner="nobody")).diff()
    assert [(item["before_header"], item["before"], item["after"]) for item in gone] == [
        (str(tmp_path / "1"), "present, with 2 files\n", "absent\n")
    ]


# -- in a folder of the tasks' user ----------------------------------------------------------------------------------

#: what is deployed below the state directory: path, and what it is
BELOW = {"": None, "/journal": None, "/status": None, "/x.log": b"", "/x.prom": b"figures"}


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    with unharmed(tmp_path / "victim", "x.log", "x.prom", "left.json"):
        yield tmp_path / "victim"


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory, which is the user's."""
    account = pwd.struct_passwd(("backup", "x", USER, USER, "", "/", "/bin/sh"))
    known = {"backup": account}
    original = pwd.getpwnam
    monkeypatch.setattr(pwd, "getpwnam", lambda name: known.get(name) or original(name))
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


def deployed(users: Path) -> list[Entry]:
    return [
        Entry(f"{users}{path}", 0o775 if content is None else 0o640, content, owner="backup")
        for path, content in BELOW.items()
    ]


def deploy(users: Path) -> None:
    with contextlib.suppress(OSError):
        change(users.parent, *deployed(users)).diff()
        change(users.parent, *deployed(users)).apply()


def uninstall(users: Path) -> None:
    gone = Change([], str(users.parent / "record" / "deployed.json"), [str(users / "journal" / "left.json")])
    with contextlib.suppress(OSError):
        gone.diff()
        gone.apply()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", [*BELOW, "/journal/left.json"])
@pytest.mark.parametrize("before", [False, True], ids=["at first", "later"])
@pytest.mark.parametrize("act", [deploy, uninstall])
def test_nothing_that_the_user_put_there_is_followed(
    act: Callable[[Path], None], before: bool, path: str, kind: str, users: Path, victim: Path
) -> None:
    if before:
        deploy(users)
    place = Path(f"{users}{path}")
    place.parent.mkdir(exist_ok=True)
    if place.is_dir():
        place.rename(f"{place}.aside")
    place.unlink(missing_ok=True)
    put(kind, place, victim)
    worker = threading.Thread(target=act, args=(users,), daemon=True)
    worker.start()
    worker.join(10)
    assert not worker.is_alive(), "it waits for ever"
    if act is deploy and path in BELOW:
        found = os.lstat(place)
        kinds = stat.S_ISDIR if BELOW[path] is None else stat.S_ISREG
        assert kinds(found.st_mode) and found.st_uid == USER, "it is what is wanted"


@pytest.mark.parametrize("path", ["/journal", "/status", ""])
@pytest.mark.parametrize("act", [deploy, uninstall])
def test_no_race_is_lost(act: Callable[[Path], None], path: str, users: Path, victim: Path) -> None:
    deploy(users)
    os.chown(users.parent, USER, USER)
    with swapping(Path(f"{users}{path}"), victim):
        for _attempt in range(25):
            act(users)
            deploy(users)


def test_a_folder_of_roots_is_not_given_away(users: Path) -> None:
    """The user can give it the name of one that is to be theirs."""
    (users / "roots").mkdir(mode=0o700)
    (users / "roots" / "secret").touch()
    (users / "roots").rename(users / "journal")
    with pytest.raises(OSError, match="it is root's"):
        change(users.parent, *deployed(users)).apply()
    assert (users / "journal").stat().st_uid == 0
