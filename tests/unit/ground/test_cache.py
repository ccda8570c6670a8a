# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Components are fetched whole or not at all, once, and again where the network fails in passing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.servers import Interrupted, Unavailable, install, made, mysql
from tests.servers import fetch as ahead


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no waiting between one try and the next."""
    monkeypatch.setenv("ENV_SYNC_TEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(servers, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(servers, "_failures", {})
    return tmp_path / "cache"


def program(folder: Path, script: str) -> str:
    path = folder / "fetch"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def count(tries: Path) -> int:
    return len(tries.read_text().splitlines())


def test_what_is_made_is_there_for_all_that_ask_later(cache: Path) -> None:
    folder = made("thing", lambda to: (to / "file").write_text("content") and None)
    assert folder == cache / "thing"
    assert (made("thing", lambda _to: pytest.fail("made twice")) / "file").read_text() == "content"
    assert sorted(os.listdir(cache)) == ["thing", "thing.lock"]


def _make_slowly(tries: str) -> None:
    def make(folder: Path) -> None:
        with open(tries, "a", encoding="utf-8") as said:
            said.write("made\n")
        time.sleep(0.2)
        (folder / "file").touch()

    assert (made("thing", make) / "file").exists()


def test_two_that_ask_at_once_make_it_once(tmp_path: Path) -> None:
    start = multiprocessing.get_context("fork").Process
    both = [start(target=_make_slowly, args=(str(tmp_path / "tries"),)) for _unused in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert count(tmp_path / "tries") == 1


@pytest.mark.parametrize(
    "said",
    [
        "Read timed out.",
        "Get https://proxy/x: dial tcp: lookup proxy: Temporary failure in name resolution",
        "npm error code ECONNRESET",
        "Could not transfer artifact a:b:pom:1 from/to central: status code: 503, reason phrase: Service Unavailable",
        "E: Failed to fetch http://mirror/pool/x.deb  Connection failed",
        "unexpected EOF",
    ],
)
def test_a_network_that_fails_in_passing_is_tried_again_from_nothing(cache: Path, tmp_path: Path, said: str) -> None:
    tries = tmp_path / "tries"
    third = f"[ $(wc -l < {tries}) = 3 ]"
    fetch = program(
        tmp_path, f'echo . >> {tries}; touch "$1/part-$(wc -l < {tries})"; {third} || {{ echo "{said}"; exit 1; }}'
    )
    folder = made("thing", lambda to: install("a thing", [fetch, str(to)], to))
    assert (count(tries), os.listdir(folder)) == (3, ["part-3"])
    assert sorted(os.listdir(cache)) == ["thing", "thing.lock"]


@pytest.mark.parametrize(
    ("said", "times"),
    [
        ("ERROR: No matching distribution found for thing==1.5.0", 1),
        ("npm error 404 Not Found - thing", 1),
        ("Could not find artifact a:thing:zip:1.0 in central", 1),
        ("Connection reset by peer", 3),
    ],
)
def test_what_a_registry_does_not_have_is_said_in_its_words_and_asked_for_once(
    cache: Path, tmp_path: Path, said: str, times: int
) -> None:
    tries = tmp_path / "tries"
    fetch = program(tmp_path, f'echo . >> {tries}; echo "{said}"; exit 1')
    for _test in ("the first", "the second"):
        with pytest.raises(Unavailable, match=f"a thing can't be had: {fetch}: {said}"):
            made("thing", lambda to: install("a thing", [fetch], to))
    assert count(tries) == times
    assert os.listdir(cache) == ["thing.lock"]


def test_a_program_that_is_not_installed_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="a thing can't be had: no-such-program is not installed"):
        install("a thing", ["no-such-program"], tmp_path)


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "FETCH_TIMEOUT", 0.5)
    fetch = program(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; echo half of it; wait")
    with pytest.raises(Unavailable, match=r"half of it\nit took longer than 0\.5 s") as caught:
        install("a thing", [fetch], tmp_path)
    assert not isinstance(caught.value, Interrupted)
    stat = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    deadline = time.monotonic() + 10
    while stat.exists() and " Z " not in stat.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_killed_run_left_half_made_goes(cache: Path) -> None:
    (cache / "thing.making-abc").mkdir(parents=True)
    (cache / "thing.making-abc" / "file").touch()
    (cache / "thing-2.making-abc").mkdir()
    made("thing", lambda _to: None)
    assert sorted(os.listdir(cache)) == ["thing", "thing-2.making-abc", "thing.lock"]


def test_a_cache_that_cannot_be_written_to_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENV_SYNC_TEST_CACHE", str(tmp_path / "file"))
    with pytest.raises(Unavailable, match=r"thing can't be made in .*file/thing: "):
        made("thing", lambda _to: None)


def test_fetching_is_no_part_of_a_test_s_time() -> None:
    """pytest-timeout's clock (as set in pyproject.toml) stands still, and goes on afterwards."""
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 0, "this test has a time limit by that clock"
    seen = []
    made("thing", lambda _to: seen.append(signal.getitimer(signal.ITIMER_REAL)[0]))
    assert seen == [0]
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 0


def test_maven_is_run_in_a_folder_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has fetched nothing yet; this Maven puts a file where it is told to."""
    (tmp_path / "bin").mkdir()
    path = tmp_path / "bin" / "mvn"
    path.write_text(
        '#!/bin/sh\nfor word; do case $word in -DoutputDirectory=*) mkdir "${word#*=}" && echo > "${word#*=}/a.zip";;\n'
        '-Dmaven.repo.local=*) mkdir "${word#*=}";; esac; done\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("ENV_SYNC_TEST_MYSQL", raising=False)
    fetches: dict[str, Any] = {"mysql_base": mysql.mysql_base, "mysql_57_base": mysql.mysql_57_base}
    for name, fetch in fetches.items():
        with pytest.raises(Unavailable, match=r"a\.zip is damaged"):
            fetch()
        assert name


def test_whatever_is_fetched_ahead_can_be_missing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetching beside the tests is no place for an error: the test that wants it tells."""

    def missing() -> None:
        raise Unavailable("there is no such thing")

    fetched: list[str] = []
    monkeypatch.setattr(ahead, "COMPONENTS", {"one": missing, "two": lambda: fetched.append("two")})
    ahead.main()
    assert fetched == ["two"]
