# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real processes, small ones: what they do when all is well, and what is told when it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.stopping import Stop
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams import pipeline
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.pipeline import Group, StageReader

PIPE = subprocess.PIPE
ROOT = Path(__file__).resolve().parents[3]


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """No test may take long: all the waits that it makes end early, because what is waited for has come."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 3


def gone(pid: int) -> bool:
    """Say whether the process ends within two seconds; a zombie has ended."""
    for _unused in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_leaving_a_group_waits_for_all_of_it(tmp_path: Path) -> None:
    with Group() as group:
        group.run(shell(f"sleep 0.05; echo process >{tmp_path}/process"), "testing")
        worker = group.start(lambda x: time.sleep(0.05) or x * 2, 21)
    assert (tmp_path / "process").read_text() == "process\n"
    assert worker.result == 42


def test_an_exit_status_is_an_error_in_the_tools_own_words() -> None:
    with pytest.raises(EnvSyncError) as raised, Group() as group:
        group.run(shell("echo disk on >&2; echo fire >&2; exit 7"), "writing x")
    assert str(raised.value) == "writing x: sh: exit status 7: disk on fire"


def test_a_full_disk_has_an_advice() -> None:
    with pytest.raises(EnvSyncError, match=r"No space left on device\. Make room in temppath"), Group() as group:
        group.run(shell("cat /proc/version >/dev/full"), "writing x")


def test_a_signal_is_told_as_one() -> None:
    with pytest.raises(EnvSyncError, match="ended by signal 9"), Group() as group:
        group.run(shell("kill -9 $$"), "x")


def test_the_end_of_a_long_complaint_is_kept() -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done >&2; echo the reason >&2; exit 1"
    with pytest.raises(EnvSyncError) as raised, Group() as group:
        stage = group.run(shell(script), "x")
    assert raised.value.why.endswith("the reason")
    assert len(raised.value.why) < 3000
    assert len(stage.stderr_text) <= pipeline.STDERR_KEPT + 8192


def test_a_tool_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(EnvSyncError, match=r"can't be started: it is not installed\. Install nonesuch"),
        Group() as group,
    ):
        group.run(["/opt/nonesuch"], "x")


def test_why_a_program_did_not_start_is_told_as_it_is(tmp_path: Path) -> None:
    plain, script = tmp_path / "plain", tmp_path / "script"
    plain.write_text("")
    script.write_text("#!/nonesuch/interpreter\n")
    script.chmod(0o755)
    for argv, cwd, says in (
        (["true"], str(tmp_path / "gone"), rf"there is no directory {tmp_path}/gone to start it in"),
        ([str(plain)], "/", "Permission denied. Make it executable"),
        ([str(script)], "/", "the interpreter that its first line names is missing"),
        (["true", "x" * 4_000_000], "/", "Argument list too long. Name fewer tables"),
    ):
        with pytest.raises(EnvSyncError, match=says), Group() as group:
            group.run(argv, "x", cwd=cwd)


def test_the_first_failure_wins_and_stops_the_others() -> None:
    with pytest.raises(EnvSyncError) as raised, Group() as group:
        other = group.run(["/bin/sleep", "60"], "waiting")
        group.run(shell("exit 3"), "failing")
        group.wait()
    assert str(raised.value) == "failing: sh: exit status 3"
    assert other.popen.returncode == -signal.SIGTERM


def test_what_a_tool_started_is_stopped_with_it(tmp_path: Path) -> None:
    with pytest.raises(EnvSyncError), Group() as group:
        group.run(shell(f"sleep 60 & echo $! >{tmp_path}/pid; wait"), "x")
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.005)
        group.run(shell("exit 3"), "failing")
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_tool_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "GRACE", 0.1)
    with pytest.raises(ZeroDivisionError), Group() as group:
        stage = group.run(shell("trap '' TERM; echo; while :; do sleep 0.02; done"), "x", stdout=PIPE)
        stage.stdout.readline()
        raise ZeroDivisionError
    assert stage.popen.returncode == -signal.SIGKILL


def test_a_failing_thread_stops_the_processes_and_is_what_is_told() -> None:
    with pytest.raises(ZeroDivisionError), Group() as group:
        stage = group.run(["/bin/sleep", "60"], "x")
        group.start(lambda: 1 // 0)
    assert stage.popen.returncode == -signal.SIGTERM


def test_the_cause_is_told_where_its_consequence_surfaced_first() -> None:
    """The block fails of a broken pipe; why it broke is the reader's exit status."""
    with pytest.raises(EnvSyncError, match="reading: sh: exit status 3: full"), Group() as group:
        reader = group.run(shell("exec <&-; echo full >&2; exit 3"), "reading", stdin=PIPE)
        while not reader.ended():
            time.sleep(0.005)
        reader.stdin.write(b"x" * 100_000)


@pytest.mark.parametrize("waits", [False, True], ids=["nobody waits for it", "somebody waits for it"])
def test_a_writer_that_lost_its_reader_is_a_consequence(waits: bool) -> None:
    with pytest.raises(EnvSyncError, match="reading: sh: exit status 3: full"), Group() as group:
        writer = group.run(["/usr/bin/yes"], "writing", stdout=PIPE)
        group.run(shell("exec <&-; sleep 0.1; echo full >&2; exit 3"), "reading", stdin=writer.stdout)
        writer.stdout.close()
        if waits:
            writer.wait()


def test_a_thread_that_lost_its_reader_is_a_consequence() -> None:
    with pytest.raises(EnvSyncError, match="reading: sh: exit status 3: full"), Group() as group:
        reader = group.run(shell("exec <&-; sleep 0.1; echo full >&2; exit 3"), "reading", stdin=PIPE)

        def write() -> None:
            while True:
                os.write(reader.stdin.fileno(), b"x" * 100_000)

        group.start(write)


def test_a_reader_that_went_away_without_a_failure_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "CONSEQUENCE", 0.1)
    with pytest.raises(EnvSyncError, match=f"writing: yes: ended by signal {signal.SIGPIPE:d}"), Group() as group:
        writer = group.run(["/usr/bin/yes"], "writing", stdout=PIPE)
        writer.stdout.close()


def test_the_end_of_a_pipe_is_an_end_only_after_exit_status_zero() -> None:
    with Group() as group:
        reader = StageReader(group.run(shell("echo data; exec >&-; sleep 0.05"), "x", stdout=PIPE))
        assert (reader.read(100), reader.read(100)) == (b"data\n", b"")
        reader.close()
    with pytest.raises(EnvSyncError, match="exit status 4"), Group() as group:
        reader = StageReader(group.run(shell("echo data; exec >&-; sleep 0.05; exit 4"), "x", stdout=PIPE))
        assert reader.read(100) == b"data\n"
        reader.read(100)
        pytest.fail("an end was told")


def test_the_end_of_a_pipeline_is_an_end_only_when_every_stage_is_well() -> None:
    with pytest.raises(EnvSyncError, match="dumping: sh: exit status 5"), Group() as group:
        dump = group.run(shell("echo data; exec >&-; sleep 0.05; exit 5"), "dumping", stdout=PIPE)
        pack = group.run(["/bin/cat"], "packing", stdin=dump.stdout, stdout=PIPE)
        dump.stdout.close()
        reader = StageReader(pack, upstream=[dump])
        assert reader.read(100) == b"data\n"
        reader.read(100)
        pytest.fail("an end was told")


def test_a_group_that_was_told_to_stop_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Cancelled), Group(cancelled=stop.is_set) as group:
        stage = group.run(["/bin/sleep", "60"], "x")
    assert stage.popen.returncode == -signal.SIGTERM
    with pytest.raises(Cancelled), Group(cancelled=stop.is_set) as group:
        group.run(["/bin/sleep", "60"], "x")
        pytest.fail("it was started")


class Archive:
    """Blocks of 100,000 bytes, the last of them empty or a failure."""

    def __init__(self, blocks: int, failure: Exception | None = None) -> None:
        self.blocks = blocks
        self._failure = failure
        self.closed = False

    def read(self, size: int) -> bytes:
        self.blocks -= 1
        if not self.blocks and self._failure:
            raise self._failure
        return b"r" * 100_000 if self.blocks else b""

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("head", [b"", b"head"])
def test_an_archive_is_sent_with_the_head_that_was_read_before(tmp_path: Path, head: bytes) -> None:
    archive = Archive(4)
    with Group() as group:
        stage = group.run(shell(f"cat >{tmp_path}/got"), "x", stdin=PIPE)
        group.start(pipeline.send_archive, group, head, archive, stage)
    assert (tmp_path / "got").read_bytes() == head + b"r" * 300_000
    assert archive.closed


def test_an_archive_is_read_to_its_end_when_the_tool_has_all_that_it_wants() -> None:
    archive = Archive(50)
    with Group() as group:
        stage = group.run(shell("head -c 10 >/dev/null"), "x", stdin=PIPE)
        group.start(pipeline.send_archive, group, b"head", archive, stage)
    assert archive.blocks == 0
    with pytest.raises(EnvSyncError, match="its SHA-256 is another"), Group() as group:
        damaged = Archive(50, EnvSyncError("reading", "its SHA-256 is another"))
        stage = group.run(shell("head -c 10 >/dev/null"), "x", stdin=PIPE)
        group.start(pipeline.send_archive, group, b"head", damaged, stage)


def test_a_tool_that_fails_on_an_archive_is_what_is_told() -> None:
    archive = Archive(50)
    with pytest.raises(EnvSyncError, match="exit status 3: no such table"), Group() as group:
        stage = group.run(shell("head -c 10 >/dev/null; echo no such table >&2; exit 3"), "x", stdin=PIPE)
        group.start(pipeline.send_archive, group, b"head", archive, stage)
    assert archive.closed


def test_an_archive_that_ends_badly_is_known_before_its_end_is_seen() -> None:
    archive = Archive(4, EnvSyncError("reading", "it is damaged"))
    with pytest.raises(EnvSyncError, match="it is damaged"), Group() as group:
        # What it does with an end of its input comes too late to be taken for success.
        stage = group.run(shell("cat >/dev/null; exit 0"), "x", stdin=PIPE)
        group.start(pipeline.send_archive, group, b"", archive, stage)


def test_an_unchecked_status_is_the_callers_to_judge() -> None:
    with Group() as group:
        stage = group.run(shell("exit 3"), "x", checked=False)
        stage.join()
        assert stage.popen.returncode == 3


def test_a_stage_that_was_stopped_has_not_failed() -> None:
    with Group() as group:
        stage = group.run(["/bin/sleep", "60"], "x")
        stage.stop()
        stage.stop()
    assert stage.popen.returncode == -signal.SIGTERM


def test_closers_wake_what_waits_outside_of_pipes() -> None:
    woken = threading.Event()
    with pytest.raises(ZeroDivisionError), Group() as group:
        group.on_stop(woken.set)
        group.start(woken.wait, 60)
        raise ZeroDivisionError
    assert woken.is_set()


def test_sleep_ends_with_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), Group() as group:
        group.start(lambda: 1 // 0)
        group.sleep(60)


def test_tools_speak_english_and_get_what_they_are_given(tmp_path: Path) -> None:
    with Group() as group:
        script = 'echo "$LC_ALL $EXTRA $PWD"'
        reader = StageReader(group.run(shell(script), "x", stdout=PIPE, env={"EXTRA": "1"}, cwd=str(tmp_path)))
        assert reader.read(1000).decode() == f"C.UTF-8 1 {tmp_path}\n"
        reader.close()


def test_all_that_was_started_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, threading, time
        sys.path.insert(0, sys.argv[1])
        from _engine.streams.pipeline import Group
        with Group() as group:
            # What it starts leaves its session, so that no signal to it or to its group gets there.
            started = f"setsid sleep 60 & echo $! >{sys.argv[2]}/grandchild; sleep 60"
            tools = [group.run(["/bin/sh", "-c", started], "x"), group.run(["sleep", "60"], "x")]
            print(*(tool.popen.pid for tool in tools), group._guard.process.pid, flush=True)
            time.sleep(60)
        """
    )
    argv = [sys.executable, "-S", "-B", "-c", script, str(ROOT / "plugins" / "module_utils"), str(tmp_path)]
    with subprocess.Popen(argv, stdout=PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        while not (tmp_path / "grandchild").exists() or not (tmp_path / "grandchild").read_text():
            time.sleep(0.005)
        pids.append(int((tmp_path / "grandchild").read_text()))
        for pid in pids:
            os.kill(pid, 0)
        os.kill(parent.pid, signal.SIGKILL)
    assert [gone(pid) for pid in pids] == [True] * 4


def test_the_guard_of_a_group_ends_with_it() -> None:
    with Group() as group:
        group.run(["/bin/true"], "x").wait()
        assert group._guard.process is not None
    assert group._guard.process.returncode == -signal.SIGKILL


def test_a_guard_is_not_ended_by_the_guard_of_a_run_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV_SYNC_GUARD", "of another run")
    with Group() as group:
        stage = group.run(["/bin/sleep", "60"], "x")
        assert group._guard.process is not None
        marks = [Path(f"/proc/{pid}/environ").read_bytes() for pid in (stage.popen.pid, group._guard.process.pid)]
        stage.stop()
    assert b"ENV_SYNC_GUARD=" in marks[0] and b"of another run" not in marks[0]
    assert b"ENV_SYNC_GUARD=" not in marks[1]


def test_threads_that_hang_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SETTLE", 0.3)
    stop = Stop()
    never = threading.Event()
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), Group(stop) as group:
        for _unused in range(16):
            group.start(never.wait)
        raise ZeroDivisionError
    assert time.monotonic() - began < 1
    assert stop.stragglers == 16, "what they are at may still come to pass"
    never.set()
    stop.settle()
    assert stop.stragglers == 0


def test_a_closer_that_hangs_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SETTLE", 0.2)
    never = threading.Event()
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), Group() as group:
        group.on_stop(lambda: never.wait() and None)
        raise ZeroDivisionError
    assert time.monotonic() - began < 1
    never.set()


def test_a_silent_tool_does_not_keep_a_reader_from_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "GRACE", 0.1)
    asked = threading.Event()
    began = time.monotonic()
    with pytest.raises(Cancelled), Group(asked.is_set) as group:
        reader = StageReader(group.run(shell("trap '' TERM INT; exec sleep 60"), "dumping", stdout=PIPE))
        threading.Timer(0.1, asked.set).start()
        reader.read(10)
    assert time.monotonic() - began < 2


def test_a_dump_that_writes_nothing_is_ended_with_that_reason() -> None:
    with pytest.raises(EnvSyncError) as raised, Group(stall_timeout=0.3) as group:
        stage = group.run(["sleep", "60"], "dumping x", stdout=PIPE, dumps=True)
        StageReader(stage).read(10)
    assert raised.value.why == "sleep has written nothing for 0 s"
    assert "stall_timeout" in raised.value.hint
    assert stage.popen.returncode == -signal.SIGTERM


@pytest.mark.parametrize(("timeout", "dumps"), [(0.0, True), (0.1, False)])
def test_other_tools_may_be_silent_and_so_may_all_where_the_limit_is_off(timeout: float, dumps: bool) -> None:
    with Group(stall_timeout=timeout) as group:
        reader = StageReader(group.run(shell("sleep 0.7; echo done"), "x", stdout=PIPE, dumps=dumps))
        assert reader.read(10) == b"done\n"
        assert reader.read(10) == b""


def test_what_keeps_a_dump_waiting_is_not_its_silence() -> None:
    with Group(stall_timeout=0.5) as group:
        stage = group.run(shell("head -c 1000000 /dev/zero"), "x", stdout=PIPE, dumps=True)
        reader = StageReader(stage)
        time.sleep(0.8)  # a store that takes its time; the pipe is full
        size = 0
        while block := reader.read(65536):
            size += len(block)
    assert size == 1000000


def test_waiting_takes_no_processor() -> None:
    with Group() as group:
        worker = group.start(time.sleep, 1.0)
        before = time.thread_time()
        group.join([worker])
        assert time.thread_time() - before < 0.01
        stage = group.run(["sleep", "1"], "x")
        before = time.thread_time()
        group.wait()
        assert time.thread_time() - before < 0.01
        assert stage.ended()


def test_waiting_ends_at_once_with_what_is_waited_for() -> None:
    with Group() as group:
        let = threading.Event()
        worker = group.start(let.wait)
        threading.Timer(0.3, let.set).start()
        group.join([worker])
        began = time.monotonic()
    assert time.monotonic() - began < 0.1


def test_a_process_that_does_not_end_by_itself_is_killed_when_the_run_is_ended() -> None:
    stop = Stop()
    with pytest.raises(EnvSyncError, match="ended by signal 9"), Group(stop) as group:
        stage = group.run(["sleep", "60"], "x")
        stop.tell_the_end("stopped by SIGTERM; it hung")
        stage.wait()


def test_items_are_shared_out_and_each_is_done_once() -> None:
    done: list[int] = []
    shares: list[list[int]] = []

    def work(items: Iterator[int]) -> None:
        share = []
        for item in items:
            time.sleep(0.001)
            share.append(item)
        shares.append(share)
        done.extend(share)

    with Group() as group:
        group.each(work, range(50), 4)
        assert sorted(done) == list(range(50))
    assert len(shares) == 4


def test_no_more_threads_than_items_where_their_number_is_known() -> None:
    threads: list[str] = []
    with Group() as group:
        group.each(lambda items: threads.append("".join(items)), ["a", "b"], 8)
        group.each(lambda items: threads.append("".join(items)), [], 8)
    assert 1 <= len([share for share in threads if share]) <= len(threads) == 2


def test_items_are_not_read_further_ahead_than_they_are_taken() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    def work(mine: Iterator[int]) -> None:
        for _item in mine:
            raise EnvSyncError("working", "the first one failed")

    with pytest.raises(EnvSyncError, match="the first one failed"), Group() as group:
        group.each(work, items(), 3)
    assert len(read) <= 3


def test_a_failure_of_what_gives_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise EnvSyncError("listing", "the connection broke")

    with pytest.raises(EnvSyncError, match="the connection broke"), Group() as group:
        group.each(list, items(), 3)
