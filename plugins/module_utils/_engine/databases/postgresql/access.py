# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a run reaches one database's server: connections, programs, and what a task says of both ways."""

from __future__ import annotations

import contextlib
import functools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ...tasks.task import Connection, Task
from .client import Server, conninfo, environment
from .excluded import Asked
from .programs import Programs, find_programs, find_restore_programs, installed_programs
from .waits import LockWatch

#: schema and name
Table = tuple[str, str]

#: runs a statement, and returns its rows
Ask = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Options:
    """What a task says of its push or pull, in the words of its keys.

    ``jobs`` is how many tables to dump or restore at once. ``dump_format`` is ``directory`` (a member for each table)
    or ``custom`` (one stream). ``template`` is the database that the scratch database is made from. ``lock_timeout`` is
    how long to wait for locks of other sessions in the live database, in seconds; 0: for ever.
    """

    jobs: int
    dump_format: str
    compression: str
    compression_level: int
    excluded: Asked
    analyze: bool
    keep_foreign_servers: bool
    template: str
    locale: str
    lock_timeout: float

    @classmethod
    def of(cls, task: Task) -> Options:
        """Return the options of a task."""
        return cls(
            jobs=task.worker_count,
            dump_format=task.format,
            compression=task.compression,
            compression_level=task.compression_level,
            excluded=Asked(
                task.excluded_tables, task.excluded_table_data, task.excluded_extensions, task.excluded_objects
            ),
            analyze=task.analyze,
            keep_foreign_servers=task.keep_foreign_servers,
            template=task.template_database or "template0",
            locale=task.locale,
            lock_timeout=task.lock_timeout,
        )


class Access:
    """One database's server, as one run reaches it.

    :param work_dir: an empty directory of this run's own, on a file system with some room; None where nothing but a
        plan is made.
    """

    def __init__(self, connection: Connection, database: str, work_dir: str | None, options: Options) -> None:
        self.database = database
        self.work_dir = work_dir
        self.options = options
        #: stands in the scratch database's comment: nobody else's is dropped when this run fails
        self.run = secrets.token_hex(4)
        #: what all sessions of this run, and no others, call themselves
        self.application = f"env_sync {self.run}"
        self.server = Server(connection, replaced=database, application=self.application)
        #: returns a connection string for a database, by its name
        self.conninfo = functools.partial(conninfo, connection)
        #: of the programs
        self.environment = dict(environment(connection), PGAPPNAME=self.application)
        #: told what others keep the run waiting for
        self.waiting: Callable[[str], None] = lambda what: None

    @functools.cached_property
    def _installed(self) -> list[Programs]:
        return installed_programs()

    def programs(self, doing: str) -> Programs:
        """Return the client programs that suit the server; raises where none are installed."""
        return find_programs(self._installed, self.version, doing)

    def restore_programs(self, doing: str) -> Programs:
        """Return those to restore into the server with; raises where none are installed."""
        return find_restore_programs(self._installed, self.version, doing)

    @property
    def version(self) -> int:
        """The server's ``server_version_num``: 150004 is 15.4."""
        return int(self.server.control().server_version)

    @contextlib.contextmanager
    def inside(self, database: str, doing: str) -> Iterator[Any]:
        """Give a connection to a database, closed afterwards."""
        connection = self.server.connect(database, doing)
        try:
            yield connection
        finally:
            connection.close()

    def asking(self, connection: Any, doing: str) -> Ask:
        """Return what runs a statement, with parameters or without, on that connection."""

        def ask(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            return self.server.query(statement, parameters, doing, connection)

        return ask

    def watching(self, connect: Callable[[str], Any], doing: str) -> LockWatch:
        """Watch, while entered, whether sessions of this run wait for locks, and for how long.

        :param connect: returns a connection to watch from, given what it is for.
        """
        return LockWatch(self.server, connect, self.application, self.options.lock_timeout, doing, self.waiting)

    def tables(self, connection: Any, doing: str, kinds: str = "rpfm") -> list[Table]:
        """Return the tables of a connection's database, by their names; none of the server's own.

        :param kinds: which, as ``pg_class.relkind`` calls them.
        """
        rows = self.server.query(
            """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE strpos(%s, c.relkind::text) > 0 AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
                ORDER BY 1, 2""",
            (kinds,),
            doing,
            connection,
        )
        return [(str(schema), str(table)) for schema, table in rows]
