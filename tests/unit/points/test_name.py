# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import time

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points import name as points_name

WHEN = "2026-01-02T03:04:05"

AWKWARD = [
    "app",
    "app-2",
    "2026-01-02T03:04:05-app",
    "a.dump",
    "a.gz",
    "a/b",
    "a%2Fb",
    "%",
    "%25/",
    "naïve ☃",
    "a\nb",
    "..",
]


@pytest.mark.parametrize("database", AWKWARD)
@pytest.mark.parametrize(
    ("tail", "role"),
    [
        ("/toc.dat", "member"),
        ("/deep/er", "member"),
        (".dump", "member"),
        (".dump.zst", "member"),
        (".gz", "legacy"),
        (points_name.MANIFEST_SUFFIX, "manifest"),
    ],
)
def test_what_a_name_says_is_what_it_was_made_of(database: str, tail: str, role: str) -> None:
    name = points_name.point_name(WHEN, database)
    assert "/" not in name
    found = points_name.parse(name + tail)
    assert found == points_name.ObjectName(WHEN, database, role)
    assert found.point == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "app.gz",
        f"{WHEN}-app",
        f"{WHEN}-app.sql",
        f"{WHEN}-",
        f"{WHEN}app.gz",
        "2026-01-02T03:04-app.gz",
        f"old/{WHEN}-app.gz",
        f"x{WHEN}-app.gz",
    ],
)
def test_other_objects_belong_to_no_point(name: str) -> None:
    assert points_name.parse(name) is None


def test_names_of_which_one_begins_or_ends_like_another_stay_apart() -> None:
    names = ["app", "my_app", "app_old", "app-old", "2026-app"]
    found = [points_name.parse(points_name.point_name(WHEN, name) + ".gz") for name in names]
    assert [one.database for one in found if one] == names


POINT = f"{WHEN}-app"


@pytest.mark.parametrize(
    "tail", ["/toc.dat.zst", "/a/b", ".gz", ".dump", ".dump.zst", ".manifest.json", "/..a", "/a b"]
)
def test_what_belongs_to_a_point(tail: str) -> None:
    assert points_name.belongs(POINT + tail, POINT)


@pytest.mark.parametrize(
    "tail",
    [
        # another database's, whose name begins like this one's
        *("", "_old.gz", "_old/toc.dat", "-2.dump", ".old.gz", ".dump.zst.manifest.json", ".gz/x", ".sql", "s/toc.dat"),
        # what leads elsewhere, or can't be printed
        *("/", "/..", "/../x", "/a/../../x", "/./a", "//etc/passwd", "/a/", "/a\nb", "/a\0", "/\x1b[2J", "/\x7f"),
    ],
)
def test_and_what_does_not(tail: str) -> None:
    assert not points_name.belongs(POINT + tail, POINT)


def test_now_is_utc_unless_local_time_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-5:30")
    time.tzset()
    try:
        utc, local = points_name.now(), points_name.now("local")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", utc)
    seconds = [time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) for text in (utc, local)]
    assert seconds[1] - seconds[0] == pytest.approx(5.5 * 3600, abs=2)


def test_iso_utc() -> None:
    assert points_name.iso_utc(86399.9) == "1970-01-01T23:59:59Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.012, "12 ms"),
        (0.9999, "1.0 s"),
        (3.44, "3.4 s"),
        (11, "11 s"),
        (59.97, "1 min 00 s"),
        (125, "2 min 05 s"),
        (4811, "1 h 20 min"),
        (172740, "47 h 59 min"),
        (273600, "3 days 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert points_name.how_long(seconds) == text
