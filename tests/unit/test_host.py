# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._host import Change, Entry, summary

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
