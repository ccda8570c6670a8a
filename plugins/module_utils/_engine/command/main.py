# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command on the database hosts: a config file and flags in; a log, lines for a person and an exit status out."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .. import catalogue, monitoring, pull, push, store_check, upkeep
from ..errors import Cancelled, EnvSyncError, one_line, visible
from ..host.progress import Host, Snapshot, default_state_dir, read_statuses
from ..host.signals import Signals
from ..stores import open_store
from ..stores.inspector import FAILED, WARNING
from ..tasks import keys, task
from ..tasks.config import read_config, read_envdir
from ..tasks.task import Task
from . import options, text
from .log import Log
from .terminal import Terminal, print_answer

#: the command's name where the launcher gives none; the config and the log directory are called like the command
DEFAULT_NAME = "govuk_env_sync"

CONF_ROOT = "/etc"
LOG_ROOT = "/var/log"
SYSLOG = "/dev/log"
MONITORING = "monitoring.conf"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    0: done, or nothing to do; 1: it failed; 2: wrong usage (as SystemExit); 3: a check of a store has warnings;
    128 and more: stopped by a signal.
    """
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    name = os.environ.get("ENV_SYNC_NAME") or DEFAULT_NAME
    log_path = os.path.join(LOG_ROOT, name, f"{name}.log")
    parser = options.make_parser(name, os.path.join(CONF_ROOT, name), log_path)
    asked = options.parse(parser, sys.argv[1:] if argv is None else argv)
    options.check_usage(parser, asked)
    with Signals() as signals:
        with Terminal(sys.stderr, shown=sys.stderr.isatty() and not asked.quiet) as terminal:
            log = Log(name, log_path, SYSLOG, terminal, asked.verbose)
            ending = _Command(asked, log, terminal, signals).run()
        on_exit(log, ending)
    if ending.status:
        with contextlib.suppress(OSError):
            word = "warning" if ending.status == _STATUS[WARNING] else "error"
            sys.stderr.write(f"{name}: {word}: {one_line(ending.message)}\n")
    return ending.status


def _open_standard_streams() -> None:
    """Open what the caller closed: the next file would take its number, and be what a tool writes its messages to."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
        os.set_inheritable(descriptor, True)
    if sys.stderr is None:
        sys.stderr = io.StringIO()  # for nobody to read


@dataclass(frozen=True)
class Ending:
    """How a call of the command ended.

    ``verb`` is ``run``, ``plan``, ``list``, ``verify``, ``check_store``, ``status`` or ``prune``; ``name`` is the
    task's name, from that of its config file, and empty for a task that is given by flags alone; ``task`` is None where
    it could not even be read; ``conf_dir`` is where its config file is; ``started`` is seconds since the epoch;
    ``status`` is the exit status, ``message`` one line, ``result`` what the engine returned; ``left`` says how many
    seconds are left to tell; ``shown`` says that who reads the log's lines on standard error sees the message anyway.
    """

    verb: str
    name: str
    task: Task | None
    conf_dir: str
    started: float
    status: int
    message: str
    result: Any = None
    left: Callable[[], float] = lambda: float("inf")
    shown: bool = True


def on_exit(log: Log, ending: Ending) -> None:
    """Tell the world how it ended. Called on every end of the command but wrong usage."""
    if ending.verb in ("run", *_ASKED):
        tell = log.record if ending.shown else log
        tell("error" if ending.status else "info", ending.message)
    if ending.verb == "run" and ending.name:
        _report(log, ending)


def _report(log: Log, ending: Ending) -> None:
    """Tell the monitoring, where the config file's directory says that there is one."""
    try:
        settings = read_config(os.path.join(ending.conf_dir, MONITORING))
    except EnvSyncError as error:
        if os.path.exists(os.path.join(ending.conf_dir, MONITORING)):
            log("warning", str(error))
        return
    manifest = (ending.result or {}).get("manifest", {})
    outcome = monitoring.Outcome(
        title=ending.name,
        ok=ending.status == 0,
        message=ending.message,
        started=ending.started,
        finished=time.time(),
        stored_bytes=int(manifest.get("stored_bytes", 0)),
        point_finished=str(manifest.get("finished", "")),
    )
    monitoring.report(outcome, settings, os.environ, log, ending.left)


# -- what is done ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Action:
    """One of a task's actions: what says what it would do, what does it, what says in a line that it is done."""

    plan: Callable[[Task, Host], Mapping[str, Any]]
    apply: Callable[[Task, Host], Mapping[str, Any]]
    summary: Callable[[Mapping[str, Any]], str]


def _push() -> _Action:
    return _Action(push.plan, push.push, text.pushed)


def _pull() -> _Action:
    return _Action(pull.plan, pull.pull, text.pulled)


def _s3_sync() -> _Action:
    from .. import bucket_sync  # and with it boto3, which the other two may do without

    return _Action(bucket_sync.plan, bucket_sync.sync, text.synced)


_ACTIONS: Mapping[str, Callable[[], _Action]] = {"push": _push, "pull": _pull, "s3_sync": _s3_sync}


#: the exit status after a check of a store that found something
_STATUS = {FAILED: 1, WARNING: 3}

#: what is asked for also where only the store is meant: the rest is stood in for
_ASKED: Mapping[str, Sequence[str]] = {"verify": ("dbms", "database"), "prune": ("database",), "check_store": ()}


class _Command:
    """One call of the command."""

    def __init__(self, asked: argparse.Namespace, log: Log, terminal: Terminal, signals: Signals) -> None:
        self._asked = asked
        self._log = log
        self._terminal = terminal
        self._signals = signals
        self._phase = ""
        self._host = Host(log, self._progress, signals.stop)
        signals.tell = self._tell_the_end
        self._conf_dir = os.path.join(CONF_ROOT, log.program)
        self._name = ""
        self._task: Task | None = None
        self._started = time.time()
        self._status_to_be = 0

    def run(self) -> Ending:
        """Do what is asked; whatever happens, return how it ended."""
        try:
            result, message = getattr(self, f"_{self._asked.verb}")()
            return self._ending(self._status_to_be, message, result)
        except Cancelled as error:
            if not self._signals.number:
                return self._ending(1, str(error))
            why = f"stopped by {self._signals.name}{self._during}{self._signals.stop.left_behind()}"
            return self._ending(128 + self._signals.number, f"{self._log.title}: {why}")
        except EnvSyncError as error:
            return self._ending(1, str(error))
        except Exception as error:  # an exit status and a line, not a page, also for what nobody thought of
            return self._ending(1, self._unexpected(error))

    @property
    def _during(self) -> str:
        return f" while {self._phase}" if self._phase else ""

    def _tell_the_end(self, why: str, seconds: float) -> None:
        """The process is about to be ended, as the run hangs or somebody is in a hurry: tell those who want to know."""
        by = f"stopped by {self._signals.name}"
        message = f"{self._log.title}: {by}{self._during}{why[len(by) :]}"
        until = time.monotonic() + seconds
        # First of all, and not by way of anything that others may hold.
        os.write(2, f"{self._log.program}: error: {message}\n".encode("utf-8", "backslashreplace"))
        ending = self._ending(128 + self._signals.number, message)
        on_exit(self._log, dataclasses.replace(ending, left=lambda: until - time.monotonic()))

    def _ending(self, status: int, message: str, result: Any = None) -> Ending:
        verb = "plan" if self._asked.plan else self._asked.verb
        return Ending(
            verb,
            self._name,
            self._task,
            self._conf_dir,
            self._started,
            status,
            message,
            result,
            self._signals.left,
            bool(status) or (self._terminal.shown and not self._asked.json),
        )

    def _unexpected(self, error: Exception) -> str:
        place = traceback.extract_tb(error.__traceback__)[-1]
        logged = self._log.write("error", traceback.format_exc().splitlines())
        where = f"The traceback is in {self._log.path}" if logged else "Run it with --verbose for the traceback"
        return (
            f"running {self._log.title}: unexpected {type(error).__name__} in {os.path.basename(place.filename)}, line "
            f"{place.lineno}. {where}; please report it."
        )

    def _progress(self, snapshot: Snapshot) -> None:
        self._phase = snapshot.phase
        self._terminal.progress(snapshot)

    # The verbs: each returns its result and one line that says what came of it.

    def _run(self) -> tuple[Any, str]:
        action = self._action()
        result = action.apply(self._read_task(), self._host)
        message = f"nothing to do: {result['skipped']}" if result["skipped"] else action.summary(result)
        if self._asked.json:
            print_answer(_json(result))
        elif self._asked.verbose or self._terminal.shown:
            self._answer(message)
        return result, message

    def _plan(self) -> tuple[Any, str]:
        result = self._action().plan(self._read_task(), self._host)
        return self._show(result, text.plan(self._log.title, result))

    def _action(self) -> _Action:
        wanted = self._read_task().action
        if wanted not in _ACTIONS:
            raise EnvSyncError(
                f"running {self._log.title}", f"there is no action {wanted}", f"Known are {', '.join(_ACTIONS)}."
            )
        return _ACTIONS[wanted]()

    def _list(self) -> tuple[Any, str]:
        values = self._read_values()
        database = values.get("database", "")
        of_task = Task.from_mapping({**task.of_store(values), "action": _reading(values)}, self._name, self._conf_dir)
        store = open_store(of_task, self._host.cancelled)
        store.preflight(write=False)
        points = catalogue.list_points(store, database, details=True, timezone=of_task.timezone)
        where = f" of {database}" if database else ""
        lines = text.points(points) or [f"There are no points{where} in {store.url()}."]
        return self._show([point.to_dict() for point in points], lines)

    def _verify(self) -> tuple[Any, str]:
        result = upkeep.verify(self._read_task(), self._host)
        return self._show(result, [text.verified(result)])

    def _check_store(self) -> tuple[Any, str]:
        of_task = self._read_task()
        account = str(self._read_values().get("action", ""))
        if account not in ("", "push", "pull"):
            raise EnvSyncError("checking the store", f"the action is {account}", "Give push or pull, or none.")
        result = store_check.check(of_task, account, self._host, self._asked.plan)
        lines = text.checked(result)
        self._status_to_be = _STATUS.get(result["severity"], 0)
        # The summary goes to standard error then, as that of every run that did not end well.
        self._show(result, lines[:-1] if self._status_to_be else lines)
        return result, lines[-1]

    def _prune(self) -> tuple[Any, str]:
        of_task = self._read_task()
        prune = upkeep.plan_prune if self._asked.plan else upkeep.prune
        result = prune(of_task, self._host, self._asked.prune)
        return self._show(result, [text.pruned(of_task.database, result, self._asked.plan)])

    def _status(self) -> tuple[Any, str]:
        values = self._read_values()
        state_dir = _state_dir(values) or default_state_dir()
        statuses = [status for status in read_statuses(state_dir) if status.title == self._name or not self._name]
        lines = text.statuses(statuses) or [f"No run of {self._name or 'any task'} is known in {state_dir}."]
        return self._show([dataclasses.asdict(status) for status in statuses], lines)

    def _show(self, result: Any, lines: Sequence[str]) -> tuple[Any, str]:
        """Print what was asked for."""
        self._terminal.clear()
        print_answer(_json(result) if self._asked.json else "\n".join(map(visible, lines)))
        return result, lines[0]

    def _answer(self, line: str) -> None:
        self._terminal.clear()
        print_answer(visible(line))

    # The task.

    def _read_task(self) -> Task:
        if self._task is None:
            values = self._read_values()
            if self._asked.verb in _ASKED:
                given = {key: values.get(key) for key in _ASKED[self._asked.verb]}
                values = {**task.of_store(values), **given, "action": _reading(values)}
            self._task = Task.from_mapping(values, self._name, self._conf_dir)
            self._log.title = self._task.title
            if self._asked.verb == "check_store":
                self._log.title = f"check {self._name or self._task.url}"
        return self._task

    def _read_values(self) -> dict[str, Any]:
        """Return the task's keys from config file and flags; set the environment."""
        path = self._find_config(self._asked.config) if self._asked.config else ""
        self._set_environment(path)
        values: dict[str, Any] = {}
        if path:
            self._name = self._log.title = re.sub(r"\.cfg\Z", "", os.path.basename(path))
            self._conf_dir = os.path.dirname(os.path.abspath(path))
            values.update(self._read_config(path))
            secrets = sorted(keys.SECRETS & set(values))
            if secrets:
                raise EnvSyncError(
                    f"reading the config file {path}",
                    f"there is a secret in it ({', '.join(secrets)})",
                    f"Give it in {CONF_ROOT}/{self._log.program}/env.d, ~/.pgpass or the AWS configuration files.",
                )
        flags = options.flags(self._asked)
        for key in flags:
            for other in options.SET_ASIDE.get(key, ()):
                values.pop(other, None)
        store = flags.get("storagebackend", values.get("storagebackend"))
        values.update(options.from_here(flags, store == "directory"))
        if values.get("action") == "s3_sync" and self._asked.verb in ("list", *_ASKED):
            raise EnvSyncError(
                f"reading the task {self._name}".rstrip(),
                f"--{self._asked.verb.replace('_', '-')} is about points, and the action s3_sync makes none",
                "Use --plan, which says what it would copy.",
            )
        return values

    def _set_environment(self, config: str) -> None:
        """Set the environment that is asked for; a deployed task has the one that was deployed with it.

        :param config: the path of the config file, empty where there is none.
        """
        folder = self._deployed(self._asked.env_dir) if self._asked.env_dir else ""
        deployed = os.path.join(CONF_ROOT, self._log.program)
        if not folder and config and os.path.dirname(os.path.abspath(config)) == deployed:
            folder = os.path.join(deployed, "env.d")
            if not os.path.isdir(folder):
                return
        if folder:
            for key, value in read_envdir(folder).items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value

    def _find_config(self, given: str) -> str:
        """Return the path of the config file: as given, or that of the task of this name."""
        return self._deployed(given if "/" in given or given.endswith(".cfg") else f"{given}.cfg")

    def _deployed(self, given: str) -> str:
        """Return a path as given; a name is that of what is deployed, and not of what the current directory has."""
        return given if "/" in given else os.path.join(CONF_ROOT, self._log.program, given)

    def _read_config(self, path: str) -> dict[str, str]:
        if path != self._asked.config and not os.path.lexists(path):
            raise EnvSyncError(
                f"reading the config file {path}",
                "No such file or directory",
                f"Check the task's name; a file in the current directory is ./{self._asked.config}.",
            )
        return read_config(path)


def _state_dir(values: Mapping[str, Any]) -> str:
    try:
        return str(keys.KEYS["state_dir"](values["state_dir"])) if values.get("state_dir") else ""
    except ValueError as error:
        raise EnvSyncError("reading state_dir", f"it {error}", "Correct it.") from None


def _json(result: Any) -> str:
    """Return JSON of printable characters only: DEL is the one that json does not escape."""
    return json.dumps(result, indent=2).replace("\x7f", "\\u007f")


def _reading(values: Mapping[str, Any]) -> str:
    """Return the action whose store is to be read: a push's may be named by ``dest``, all others are like a pull's."""
    return "push" if values.get("action") == "push" else "pull"
