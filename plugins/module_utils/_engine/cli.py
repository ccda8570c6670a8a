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
import shutil
import signal
import socket
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging.handlers import SysLogHandler
from types import FrameType
from typing import Any, Callable, NoReturn, TextIO

from . import bucket_sync, catalogue, monitoring, pull, push, task, upkeep
from .config import read_config, read_envdir
from .errors import Cancelled, EnvSyncError, one_line
from .point import iso_utc
from .progress import Host, Snapshot, default_state_dir, read_statuses
from .stores import open_store
from .task import Task
from .version import VERSION

#: the command's name where the launcher gives none; the config and the log directory are called like the command
DEFAULT_NAME = "govuk_env_sync"

CONF_ROOT = "/etc"
LOG_ROOT = "/var/log"
SYSLOG = "/dev/log"
MONITORING = "monitoring.conf"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    0: done, or rightly nothing to do; 1: it failed; 2: wrong usage (as SystemExit); 128 and more: stopped by a signal.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    name = os.environ.get("ENV_SYNC_NAME") or DEFAULT_NAME
    parser = _parser(name)
    asked = parser.parse_args(argv)
    _check_usage(parser, asked)
    with _Signals() as signals:
        with _Terminal(sys.stderr, shown=sys.stderr.isatty() and not asked.quiet) as terminal:
            log = _Log(name, terminal, asked.verbose)
            ending = _Command(asked, log, terminal, signals).run()
        on_exit(log, ending)
    if ending.status:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{name}: error: {ending.message}\n")
    return ending.status


@dataclass(frozen=True)
class Ending:
    """How a call of the command ended.

    ``verb`` is ``run``, ``plan``, ``list``, ``verify``, ``status`` or ``prune``; ``name`` is the task's name, from that
    of its config file, and empty for a task that is given by flags alone; ``task`` is None where it could not even be
    read; ``conf_dir`` is where its config file is; ``started`` is seconds since the epoch; ``status`` is the exit
    status, ``message`` one line, ``result`` what the engine returned.
    """

    verb: str
    name: str
    task: Task | None
    conf_dir: str
    started: float
    status: int
    message: str
    result: Any = None


def on_exit(log: _Log, ending: Ending) -> None:
    """Tell the world how it ended. Called on every end of the command but wrong usage."""
    if ending.verb in ("run", "verify", "prune"):
        log("error" if ending.status else "info", ending.message)
    if ending.verb == "run" and ending.name:
        _report(log, ending)


def _report(log: _Log, ending: Ending) -> None:
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
    monitoring.report(outcome, settings, os.environ, log)


# -- what can be asked -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Option:
    """The option for one key of a task; ``value`` is what its help calls the value, empty for a switch."""

    key: str
    value: str
    help: str
    short: str = ""
    also: str = ""


def _one_of(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


_OPTIONS: Mapping[str, Sequence[_Option]] = {
    "what": (
        _Option("action", "ACTION", _one_of(task.ACTIONS), "-a"),
        _Option("dbms", "DBMS", _one_of(task.DBMS), "-D"),
        _Option("database", "NAME", "the database", "-d"),
        _Option("directory", "DIR", "the directory tree, where dbms is files"),
        _Option("timestamp", "TIME", "the point to take, YYYY-MM-DDTHH:MM[:SS] (default: the newest)", "-t"),
        _Option("excluded_tables", "TABLES", "tables to leave out of a push, with commas; * and ? are wildcards", "-e"),
        _Option("environment", "NAME", "the environment, noted in the manifest of a push"),
    ),
    "the database server (default: where the DBMS's own client would go)": (
        _Option("database_hostname", "HOST", "host name, or directory of the Unix socket", "-H"),
        _Option("database_port", "PORT", "TCP port"),
        _Option("login_user", "USER", "the role to log in as"),
    ),
    "the store": (
        _Option("storagebackend", "STORE", _one_of(task.STORES), "-S"),
        _Option("url", "URL", "bucket, base directory, or host (rsync)", "-u"),
        _Option("path", "PATH", "prefix in the bucket, or folder below the directory", "-p"),
        _Option("src", "DIR", "pull from this local directory instead of a store"),
        _Option("dest", "DIR", "push into this local directory instead of a store"),
    ),
    "S3 (default: as the AWS command line takes it)": (
        _Option("endpoint_url", "URL", "an S3 service other than AWS"),
        _Option("region", "REGION", "the bucket's region"),
        _Option("profile", "NAME", "a profile of the AWS configuration files"),
        _Option("addressing_style", "STYLE", _one_of(task.ADDRESSING_STYLES)),
        _Option("validate_certs", "", "check the service's certificate"),
        _Option("aws_ca_bundle", "FILE", "certificates of the authorities to trust"),
        _Option("encryption_mode", "MODE", "encryption at rest: " + _one_of(task.ENCRYPTION_MODES)),
        _Option("encryption_kms_key_id", "ID", "the key for aws:kms"),
        _Option("acl", "ACL", "canned ACL for what is stored (default: none is sent)"),
        _Option("storage_class", "CLASS", "storage class for what is stored"),
        _Option("max_upload_parts", "N", "parts that the service allows in an upload (default: 10000)"),
    ),
    "rsync over ssh (default: as ssh's own configuration says)": (
        _Option("ssh_port", "PORT", "TCP port"),
        _Option("ssh_key_file", "FILE", "the private key to log in with"),
        _Option("ssh_known_hosts_file", "FILE", "the keys of the hosts to trust"),
    ),
    "SQL": (
        _Option(
            "transformation_sql_filename",
            "FILES",
            "scripts to run on what was pulled, before it goes live, with commas",
            "-s",
            "transformation_sql_file",
        ),
        _Option(
            "pre_dump_transformation_sql_filename",
            "FILES",
            "scripts to run on the database itself, before a push",
            "-F",
            "pre_dump_transformation_sql_file",
        ),
        _Option("require_sanitised", "", "refuse to pull what no script sanitised"),
    ),
    "how": (
        _Option("temppath", "DIR", "where to make temporary files", "-T"),
        _Option("jobs", "N", "tables to dump or restore at once (default: as many as there are cores)"),
        _Option("format", "FORMAT", f"of a push: {_one_of(task.FORMATS)} (default: {Task.format})"),
        _Option("compression", "NAME", f"of a push: {_one_of(task.COMPRESSIONS)} (default: {Task.compression})"),
        _Option("compression_level", "N", "1 (fast) to 19 (small)"),
        _Option(
            "old_database",
            "WHAT",
            f"what a pull replaced: {_one_of(task.OLD_DATABASE)} it (default: {Task.old_database})",
        ),
        _Option("allow_restore_to_source", "", "let a pull replace the database that the point was pushed from"),
        _Option("analyze", "", "gather the planner's statistics before a pull goes live"),
        _Option(
            "timezone", "ZONE", f"of a new point's timestamp: {_one_of(task.TIMEZONES)} (default: {Task.timezone})"
        ),
        _Option("lock_wait", "SECONDS", "how long to wait for another run on the same database (default: 0)"),
        _Option("state_dir", "DIR", "where statuses and journals are kept"),
    ),
    "buckets, for the action s3_sync": (
        _Option("source_bucket", "BUCKET", "the bucket to copy from"),
        _Option("destination_bucket", "BUCKET", "the bucket to copy to"),
        _Option("delete", "", "remove from the destination what the source has not"),
    ),
}

#: keys that no option sets: what schedules and watches a task is no matter of one run; secrets, and what is their other
#: half, come from the environment
KEYS_WITHOUT_OPTION = frozenset({"name", "ensure", "hour", "minute", "freshness", "access_key"}) | task.SECRETS

#: keys of a config file that a flag for another key sets aside
_SET_ASIDE = {
    "transformation_sql_filename": ("transformation_sql_file",),
    "pre_dump_transformation_sql_filename": ("pre_dump_transformation_sql_file",),
    "url": ("src", "dest"),
}


def _epilog(conf_dir: str, log: str) -> str:
    paragraphs = (
        f"Flags win over the config file. A CONFIG that is no file here is looked for in {conf_dir}.",
        "Secrets have no options, and config files with secrets are refused. They come from the environment "
        "(PGPASSWORD, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), which cron's jobs get from "
        f"{conf_dir}/env.d, from ~/.pgpass, or from the AWS configuration files.",
        "Exit status: 0 done, or rightly nothing to do; 1 failed, and the live database is as it was; 2 wrong usage; "
        f"129, 130, 143 stopped by SIGHUP, SIGINT, SIGTERM. The log is {log}.",
    )
    return "\n\n".join(textwrap.fill(text, shutil.get_terminal_size().columns - 2) for text in paragraphs)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Says ``-d, --database NAME`` where argparse before Python 3.13 says the value's name twice."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        text = ", ".join(action.option_strings)
        return text if action.nargs == 0 else f"{text} {action.metavar}"


def _parser(name: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=name,
        usage=f"{name} -f CONFIG [option ...]\n"
        f"       {name} -a ACTION -D DBMS -d NAME -S STORE -u URL [-p PATH] [option ...]\n"
        f"       {name} --list | --verify | --prune KEEP | --status  [-f CONFIG] [option ...]",
        description="Push a database into a store, or pull it from there into another environment.",
        epilog=_epilog(f"{CONF_ROOT}/{name}", f"{LOG_ROOT}/{name}/{name}.log"),
        formatter_class=_Help,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-f", "--config", metavar="CONFIG", help="the task's config file, or just the task's name")
    parser.add_argument("--env-dir", metavar="DIR", help="set the environment from a directory, as envdir does")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors and what was asked for")
    parser.add_argument("--verbose", action="store_true", help="show the log's lines on standard error too")
    parser.add_argument("--version", action="version", version=f"{name} {VERSION}", help="print the version")
    parser.add_argument("-h", "--help", action="help", help="print this")
    instead = parser.add_argument_group("instead of running the task")
    instead.add_argument(
        "--plan", action="store_true", help="say what would be done (also with --prune); change nothing"
    )
    verbs = instead.add_mutually_exclusive_group()
    for verb, text in (
        ("list", "list the store's points (those of one database with -d)"),
        ("verify", "read all of a point, and say whether it is good"),
        ("status", "say how far the tasks on this host are, or how they ended"),
    ):
        verbs.add_argument(f"--{verb}", dest="verb", action="store_const", const=verb, help=text)
    verbs.add_argument(
        "--prune", metavar="KEEP", type=int, help="remove all but the newest KEEP points of the database"
    )
    for title, options in _OPTIONS.items():
        group = parser.add_argument_group(title)
        for option in options:
            _add_option(group, option)
    return parser


def _add_option(group: argparse._ArgumentGroup, option: _Option) -> None:
    flags = [option.short] if option.short else []
    flags.append("--" + option.key.replace("_", "-"))
    if option.value:
        group.add_argument(*flags, dest=option.key, metavar=option.value, help=option.help)
    else:
        group.add_argument(*flags, dest=option.key, action=argparse.BooleanOptionalAction, help=option.help)
    if option.also:
        group.add_argument("--" + option.also.replace("_", "-"), dest=option.key, help=argparse.SUPPRESS)


def _check_usage(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    if asked.prune is not None:
        asked.verb = "prune"
    if asked.plan and asked.verb not in (None, "prune"):
        parser.error(f"argument --plan: not allowed with --{asked.verb}")
    if asked.verb is None:
        asked.verb = "plan" if asked.plan else "run"
    if asked.verb != "status" and not asked.config and not _flags(asked):
        parser.error("no task is given: name its config file with -f, or give its parameters as options")


def _flags(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the task's keys that were given as flags."""
    keys = [option.key for options in _OPTIONS.values() for option in options]
    return {key: getattr(asked, key) for key in keys if getattr(asked, key) is not None}


# -- what is done ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Action:
    """One of a task's actions: what says what it would do, what does it, what says in a line that it is done."""

    plan: Callable[[Task, Host], Mapping[str, Any]]
    apply: Callable[[Task, Host], Mapping[str, Any]]
    summary: Callable[[Mapping[str, Any]], str]


def _pushed(result: Mapping[str, Any]) -> str:
    return f"pushed {result['point']} to {result['store']}: {_volume(result)}"


def _pulled(result: Mapping[str, Any]) -> str:
    text = f"pulled {result['point']} into {result['database']}: {_volume(result)}"
    replaced = result["replaced"]
    if replaced is None:
        return f"{text}; there was no {result['database']} before"
    fate = f"kept as {result['kept']}" if result["kept"] else "dropped"
    away = _duration(result["name_away_seconds"] or 0.001)
    return f"{text}; replaced {_size(replaced['size_bytes'])}, {fate}; the name was away for {away}"


def _synced(result: Mapping[str, Any]) -> str:
    return (
        f"synced {result['source']} to {result['destination']}: {result['copied']} objects copied "
        f"({_size(result['copied_bytes'])}), {result['unchanged']} unchanged, {result['deleted']} removed, "
        f"in {_duration(result['durations']['total'])}"
    )


def _volume(result: Mapping[str, Any]) -> str:
    return (
        f"{_size(result['raw_bytes'])} ({_size(result['stored_bytes'])} stored) "
        f"in {_duration(result['durations']['total'])}, {_size(result['rate'])}/s"
    )


_ACTIONS: Mapping[str, _Action] = {
    "push": _Action(push.plan, push.push, _pushed),
    "pull": _Action(pull.plan, pull.pull, _pulled),
    "s3_sync": _Action(bucket_sync.plan, bucket_sync.sync, _synced),
}


class _Command:
    """One call of the command."""

    def __init__(self, asked: argparse.Namespace, log: _Log, terminal: _Terminal, signals: _Signals) -> None:
        self._asked = asked
        self._log = log
        self._terminal = terminal
        self._signals = signals
        self._phase = ""
        self._host = Host(log, self._progress, signals.came)
        self._conf_dir = os.path.join(CONF_ROOT, log.program)
        self._name = ""
        self._task: Task | None = None
        self._started = time.time()

    def run(self) -> Ending:
        """Do what is asked; whatever happens, return how it ended."""
        try:
            result, message = getattr(self, f"_{self._asked.verb}")()
            return self._ending(0, message, result)
        except Cancelled as error:
            if not self._signals.number:
                return self._ending(1, str(error))
            during = f" while {self._phase}" if self._phase else ""
            stopped_by = signal.Signals(self._signals.number).name
            return self._ending(128 + self._signals.number, f"{self._log.title}: stopped by {stopped_by}{during}")
        except EnvSyncError as error:
            return self._ending(1, str(error))
        except Exception as error:  # an exit status and a line, not a page, also for what nobody thought of
            return self._ending(1, self._unexpected(error))

    def _ending(self, status: int, message: str, result: Any = None) -> Ending:
        verb = "plan" if self._asked.plan else self._asked.verb
        return Ending(verb, self._name, self._task, self._conf_dir, self._started, status, message, result)

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
            _print(json.dumps(result, indent=2))
        elif self._asked.verbose or self._terminal.shown:
            self._answer(message)
        return result, message

    def _plan(self) -> tuple[Any, str]:
        result = self._action().plan(self._read_task(), self._host)
        if result.get("skipped"):
            lines = [f"nothing to do: {result['skipped']}"]
        else:
            lines = [f"{self._log.title} would:"]
            lines += [f"{number:3}. {step}" for number, step in enumerate(result["steps"], start=1)]
            lines += [f"warning: {warning}" for warning in result["warnings"]]
            lines.append("Nothing was changed.")
        return self._show(result, lines)

    def _action(self) -> _Action:
        wanted = self._read_task().action
        if wanted not in _ACTIONS:
            raise EnvSyncError(
                f"running {self._log.title}", f"there is no action {wanted}", f"Known are {', '.join(_ACTIONS)}."
            )
        return _ACTIONS[wanted]

    def _list(self) -> tuple[Any, str]:
        values = self._read_values()
        database = values.get("database", "")
        # A listing needs a store and nothing else; what else a task must have is stood in for.
        whole = {"dbms": task.DBMS[0], "database": "*", **values, "action": _reading(values)}
        store = open_store(Task.from_mapping(whole, self._name, self._conf_dir))
        store.preflight(write=False)
        points = catalogue.list_points(store, database, details=True)
        if points:
            lines = _table(
                ("TIMESTAMP", "DATABASE", "STATE", "RAW", "STORED", "ENVIRONMENT", "SANITISED"),
                [
                    (
                        point.timestamp,
                        point.database,
                        point.state,
                        _size(point.raw_bytes) if point.raw_bytes else "-",
                        _size(point.stored_bytes),
                        point.environment or "-",
                        "yes" if point.sanitised else "-",
                    )
                    for point in points
                ],
            )
        else:
            lines = [f"There are no points{f' of {database}' if database else ''} in {store.url()}."]
        return self._show([point.to_dict() for point in points], lines)

    def _verify(self) -> tuple[Any, str]:
        result = upkeep.verify(self._read_task(), self._host)
        return self._show(
            result,
            [
                f"{result['point']} in {result['store']} is good: {_size(result['stored_bytes'])} in "
                f"{len(result['manifest']['members'])} members, read in {_duration(result['durations']['total'])}"
            ],
        )

    def _prune(self) -> tuple[Any, str]:
        of_task = self._read_task()
        result = upkeep.prune(of_task, self._host, self._asked.prune, self._asked.plan)
        if result["removed"]:
            done = "would remove" if self._asked.plan else "removed"
            lines = [f"{done} from {result['store']}: {', '.join(result['removed'])}"]
        else:
            lines = [f"nothing to prune of {of_task.database} in {result['store']}: {result['skipped']}"]
        return self._show(result, lines)

    def _status(self) -> tuple[Any, str]:
        values = self._read_values()
        state_dir = os.path.expanduser(values.get("state_dir", "")) or default_state_dir()
        statuses = [status for status in read_statuses(state_dir) if status.title == self._name or not self._name]
        if statuses:
            lines = _table(
                ("TASK", "STATE", "SINCE (UTC)", "TOOK", "WHAT"),
                [
                    (
                        status.title,
                        status.state,
                        iso_utc(status.started)[:-1].replace("T", " "),
                        _duration((time.time() if status.state == "running" else status.updated) - status.started),
                        _progress_text(status) if status.state == "running" else one_line(status.message),
                    )
                    for status in statuses
                ],
            )
        else:
            lines = [f"No run of {self._name or 'any task'} is known in {state_dir}."]
        return self._show([dataclasses.asdict(status) for status in statuses], lines)

    def _show(self, result: Any, lines: Sequence[str]) -> tuple[Any, str]:
        """Print what was asked for."""
        self._terminal.clear()
        _print(json.dumps(result, indent=2) if self._asked.json else "\n".join(lines))
        return result, lines[0]

    def _answer(self, line: str) -> None:
        self._terminal.clear()
        _print(line)

    # The task.

    def _read_task(self) -> Task:
        if self._task is None:
            values = self._read_values()
            if self._asked.verb in ("verify", "prune"):
                values["action"] = _reading(values)
            self._task = Task.from_mapping(values, self._name, self._conf_dir)
            self._log.title = self._task.title
        return self._task

    def _read_values(self) -> dict[str, Any]:
        """Return the task's keys from config file and flags; set the environment."""
        if self._asked.env_dir:
            for key, value in read_envdir(self._asked.env_dir).items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
        values: dict[str, Any] = {}
        if self._asked.config:
            path = self._find_config(self._asked.config)
            self._name = self._log.title = re.sub(r"\.cfg\Z", "", os.path.basename(path))
            self._conf_dir = os.path.dirname(os.path.abspath(path))
            values.update(read_config(path))
            secrets = sorted(task.SECRETS & set(values))
            if secrets:
                raise EnvSyncError(
                    f"reading the config file {path}",
                    f"there is a secret in it ({', '.join(secrets)})",
                    f"Give it in {CONF_ROOT}/{self._log.program}/env.d, ~/.pgpass or the AWS configuration files.",
                )
        flags = _flags(self._asked)
        for key in flags:
            for other in _SET_ASIDE.get(key, ()):
                values.pop(other, None)
        return {**values, **flags}

    def _find_config(self, given: str) -> str:
        """Return the path of the config file: as given, or that of the task of this name."""
        if "/" in given or os.path.exists(given):
            return given
        return os.path.join(self._conf_dir, given if given.endswith(".cfg") else f"{given}.cfg")


def _reading(values: Mapping[str, Any]) -> str:
    """Return the action whose store is to be read: a push's may be named by ``dest``, all others are like a pull's."""
    return "push" if values.get("action") == "push" else "pull"


# -- what is around it -----------------------------------------------------------------------------------------------


class _Signals:
    """Notes the first signal that asks the command to stop, while entered; what was ignored before stays ignored."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def came(self) -> bool:
        return self.number != 0

    def __enter__(self) -> _Signals:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number


class _Log:
    """The log file, syslog, and (where ``echo``) standard error. A log that can't be written never fails a run.

    Lines are ``YYYY-MM-DDTHH:MM:SSZ TASK[PID]: message``, warnings and errors marked as such.
    """

    _PRIORITIES: Mapping[str, int] = {
        "info": SysLogHandler.LOG_INFO,
        "warning": SysLogHandler.LOG_WARNING,
        "error": SysLogHandler.LOG_ERR,
    }

    def __init__(self, program: str, terminal: _Terminal, echo: bool) -> None:
        self.program = program
        self.path = os.path.join(LOG_ROOT, program, f"{program}.log")
        self.title = program
        self._terminal = terminal
        self._echo = echo

    def __call__(self, level: str, text: str) -> None:
        self.write(level, [one_line(text)])
        self._to_syslog(level, one_line(text))
        if level == "warning" and self._terminal.shown and not self._echo:
            self._terminal.say(f"{self.program}: warning: {one_line(text)}")

    def write(self, level: str, texts: Sequence[str]) -> bool:
        """Write lines to the log file, and to standard error where lines go there; say whether the file took them."""
        mark = "" if level == "info" else f"{level}: "
        head = f"{iso_utc(time.time())} {self.title}[{os.getpid()}]: {mark}"
        lines = "".join(f"{head}{text}\n" for text in texts)
        if self._echo:
            self._terminal.say(lines.rstrip("\n"))
        try:
            descriptor = self._open()
            try:
                os.write(descriptor, lines.encode("utf-8", "backslashreplace"))
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    def _open(self) -> int:
        """Open the log file, each time anew, as it may have been rotated."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self.path, flags)
        except FileNotFoundError:
            descriptor = os.open(self.path, flags | os.O_CREAT, 0o640)
            if os.geteuid() == 0:
                # Made by an administrator's run, it must still be open to cron's user, whose directory it is in.
                folder = os.stat(os.path.dirname(self.path))
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            return descriptor

    def _to_syslog(self, level: str, text: str) -> None:
        # Not SysLogHandler itself: it would wait for ever for a syslog daemon that hangs.
        priority = SysLogHandler.LOG_USER << 3 | self._PRIORITIES[level]
        line = f"<{priority}>{self.program}[{os.getpid()}]: {self.title}: {text}"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(line.encode("utf-8", "backslashreplace"), SYSLOG)


class _Terminal:
    """Standard error: where ``shown``, its last line is the progress, rewritten in place."""

    def __init__(self, stream: TextIO, shown: bool) -> None:
        self.shown = shown
        self._stream = stream
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._drawn = 0
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name="progress line")

    def __enter__(self) -> _Terminal:
        if self.shown:
            self._ticker.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear()

    def progress(self, snapshot: Snapshot) -> None:
        """Show how far a run is; nothing where the run is over."""
        if not self.shown:
            return
        with self._lock:
            self._snapshot = snapshot if snapshot.state == "running" else None
            self._draw()

    def say(self, line: str) -> None:
        """Write a line that stays, above the progress."""
        with self._lock:
            self._write(f"{self._blank()}{line}\n")
            self._draw()

    def clear(self) -> None:
        """Take the progress away for good."""
        self._stopped.set()
        with self._lock:
            self._snapshot = None
            self._write(self._blank())

    def _tick(self) -> None:
        while not self._stopped.wait(1.0):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if self._snapshot is None or not self._snapshot.phase:
            return
        with contextlib.suppress(OSError, ValueError):
            width = os.get_terminal_size(self._stream.fileno()).columns or 80
            text = f"{self._snapshot.title}: {_progress_text(self._snapshot)}"[: width - 1]
            self._write("\r" + text.ljust(self._drawn))
            self._drawn = len(text)

    def _blank(self) -> str:
        """Return what takes the progress line away."""
        drawn, self._drawn = self._drawn, 0
        return "\r" + " " * drawn + "\r" if drawn else ""

    def _write(self, text: str) -> None:
        # A terminal that went away must not fail a run.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def _print(text: str) -> None:
    """Write the answer to standard output; a reader that has seen enough is no error."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would fail a second time at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise EnvSyncError("writing to standard output", str(error.strerror)) from error


# -- words -----------------------------------------------------------------------------------------------------------


def _progress_text(snapshot: Snapshot) -> str:
    """Return how far a running task is: its phase, members, bytes, rate, and when it will be through."""
    parts = []
    if snapshot.members_total:
        parts.append(f"{snapshot.members_done}/{snapshot.members_total} members")
    elif snapshot.members_done:
        parts.append(f"{snapshot.members_done} member{'s' if snapshot.members_done > 1 else ''}")
    if snapshot.bytes_total:
        percent = min(100, 100 * snapshot.bytes_done // snapshot.bytes_total)
        parts.append(f"{_size(snapshot.bytes_done)} of {_size(snapshot.bytes_total)} ({percent}%)")
    elif snapshot.bytes_done:
        parts.append(_size(snapshot.bytes_done))
    if snapshot.rate:
        parts.append(f"{_size(snapshot.rate)}/s")
    if snapshot.remaining and snapshot.remaining >= 1:
        parts.append(f"about {_duration(round(snapshot.remaining))} left")
    elapsed = int(time.time() - snapshot.phase_started) if snapshot.phase_started else 0
    if elapsed and not parts:
        parts.append(_duration(elapsed))
    return ", ".join([snapshot.phase or "starting", *parts])


def _size(count: float) -> str:
    """Return bytes as people say them: ``17 B``, ``1.2 GiB``."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def _duration(seconds: float) -> str:
    """Return seconds as people say them: ``12 ms``, ``3.4 s``, ``2 min 05 s``, ``1 h 20 min``."""
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.0f} s" if seconds == int(seconds) else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, its columns as wide as they must be."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows]]
