# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a script with a mark at its end, and believe that it ran only when the mark has arrived.

The mark is a notification (NOTIFY) that the script's own session sends, in its own transaction, after the last line.
The server delivers it when that transaction is committed, and only within one database: to a connection of ours that
listens in the database which the script was for. It needs no right, and leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass
from typing import Any, Callable

from ...errors import EnvSyncError
from ...streams.pipeline import Group
from .client import Server
from .psql import passed_over
from .scripts import Ready

#: how long a mark may take to arrive once psql has ended well, in seconds
_PATIENCE = 3.0

# The first file: notes the session, and begins the transaction. (A query inside of it would keep the script from
# choosing its isolation level.)
_BEFORE = """SELECT pg_catalog.pg_backend_pid() AS env_sync_session \\gset
BEGIN;
"""

# What follows the script in its file. Each statement is one line, as a script may have set SINGLELINE.
_AFTER = """
\\if :{{?ON_ERROR_STOP}}
\\set env_sync_stop :ON_ERROR_STOP
\\else
\\set env_sync_stop off
\\endif
SELECT pg_catalog.pg_notify('{channel}', pg_catalog.json_build_object({facts})::pg_catalog.text);
COMMIT;
"""
_FACTS = {
    "stop": ":'env_sync_stop'",
    "error": ":'LAST_ERROR_SQLSTATE'",
    "began": ":'env_sync_session'",
    "session": "pg_catalog.pg_backend_pid()",
    "counting": "pg_catalog.current_setting('track_counts')",
    "pending": (
        "(SELECT pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_inserted(oid)"
        " OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(oid)"
        " OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(oid)) FROM pg_catalog.pg_class"
        " WHERE relkind OPERATOR(pg_catalog.=) 'r' AND relpersistence OPERATOR(pg_catalog.<>) 't'"
        " AND oid OPERATOR(pg_catalog.>=) 16384)"
    ),
}


@dataclass(frozen=True)
class Marked:
    """What the mark says of its session.

    ``session`` is the number of its process, ``counting`` whether it counts rows, ``pending`` how many rows it had
    touched that the server had not been told of.
    """

    session: int
    counting: bool
    pending: int


def run_marked(
    ready: Ready,
    work_dir: str,
    doing: str,
    server: Server,
    listener: Any,
    run: Callable[[list[str], str, Callable[[str, int], str]], str],
    group: Group,
) -> Marked:
    """Run a script, and return what its mark says.

    :param work_dir: an empty folder for the files that psql reads.
    :param listener: a connection to the database that the script is for.
    :param run: runs files with psql, in a folder, and returns what it complained of.
    :raises EnvSyncError: it failed; or it ended well and there is no mark, or one that says what is wrong.
    """
    channel = f"env_sync_{secrets.token_hex(16)}"
    paths = {_write(work_dir, f"{number}.sql", piece.content): piece for number, piece in enumerate(ready.pieces)}
    script = next(iter(paths))
    facts = ", ".join(f"'{name}', {value}" for name, value in _FACTS.items())
    with open(script, "ab") as stream:
        stream.write(_AFTER.format(channel=channel, facts=facts).encode())
    before = _write(work_dir, "before.sql", _BEFORE.encode())

    def place(file: str, line: int) -> str:
        piece = paths.get(file) or paths.get(os.path.join(work_dir, os.path.basename(file)))
        if piece is None:
            return "at its beginning"
        if line <= piece.lines:
            return f"{piece.path}, line {line}"
        return f"{piece.path}, at its end"

    server.query(f"LISTEN {channel}", (), doing, listener)
    complaints = run([before, script], os.path.dirname(os.path.abspath(ready.script.path)), place)
    mark = _wait(server, listener, channel, doing, group)
    error = passed_over(complaints, place)
    if mark is None:
        raise EnvSyncError(doing, *_why_no_mark(ready, error))
    if mark["stop"].lower() not in ("on", "true", "1", "yes", "t", "y"):
        why = "it ended with ON_ERROR_STOP switched off, so that errors are passed over"
        raise EnvSyncError(doing, f"{why} ({error})" if error else why, "Remove the line that switches it off.")
    if int(mark["began"]) != mark["session"]:
        raise EnvSyncError(
            doing, "it connected anew on its way, so that some of it ran elsewhere", "Have it stay in its session."
        )
    if error or mark["error"] != "00000":
        raise EnvSyncError(
            doing, f"an error was passed over: {error or mark['error']}", "Have every statement of the script succeed."
        )
    return Marked(int(mark["session"]), mark["counting"] == "on", int(mark["pending"] or 0))


def _write(folder: str, name: str, content: bytes) -> str:
    path = os.path.join(folder, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
        stream.write(content)
    return path


def _wait(server: Server, listener: Any, channel: str, doing: str, group: Group) -> dict[str, Any] | None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        server.query("SELECT 1", (), doing, listener)  # the server sends notifications when it answers
        for notification in listener.notifies:
            if notification.channel == channel:
                found: dict[str, Any] = json.loads(notification.payload)
                return found
        if time.monotonic() > deadline:
            return None
        group.sleep(0.05)


def _why_no_mark(ready: Ready, error: str) -> tuple[str, str]:
    if error:
        why = f"an error was passed over, and what the script did was undone: {error}"
        return why, "Correct it, and leave ON_ERROR_STOP on."
    if ready.leaves:
        why = f"psql did not come to its end, and nothing of it was kept; it can leave at {', '.join(ready.leaves)}"
        return why, "Remove the \\q, or put what depends on a condition between \\if and \\endif."
    return (
        "psql did not come to its end, or what it did was undone (its transaction was not committed)",
        "Look for what skips the rest of the script, or rolls back.",
    )
