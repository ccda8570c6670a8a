# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to a PostgreSQL server: the control connection, and what its programs are told of where it is."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any, Callable, TypeVar

from ...errors import EnvSyncError, MissingLibrary
from ...host.stopping import Stop, interruptible
from ...tasks.task import LOOPBACK, Connection
from ..lease import LockLost
from .names import quote

try:
    import psycopg2
    import psycopg2.extensions

    HAS_PSYCOPG2 = True
except ImportError:
    HAS_PSYCOPG2 = False

#: the database for control statements; every server has the second one
_MAINTENANCE = ("postgres", "template1")

#: limits that an operator sets for applications; what is done here takes as long as it takes
_NO_LIMITS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
)

_Answer = TypeVar("_Answer")

#: how long the server may take to be asked to cancel a statement, and to do it, in seconds
_CANCEL_PATIENCE = 1.0


def environment(connection: Connection) -> dict[str, str]:
    """Return the libpq environment for the connection; the password goes here, never on a command line."""
    values = {
        "PGHOST": connection.host,
        "PGPORT": str(connection.port) if connection.port else "",
        "PGUSER": connection.user,
        "PGPASSWORD": connection.password,
        "PGAPPNAME": "env_sync",
    }
    return {key: value for key, value in values.items() if value}


def conninfo(connection: Connection, database: str) -> str:
    """Return a connection string for the database; its name can't be taken for a parameter, whatever it holds.

    It says where the server is too: a service (PGSERVICE) would count more than the environment says (libpq,
    conninfo_add_defaults), and the programs be sent elsewhere than the control connection.
    """
    where = {"host": connection.host, "port": str(connection.port or ""), "user": connection.user}
    values = {**{key: value for key, value in where.items() if value}, "dbname": database}
    escaped = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in values.items()}
    return " ".join(f"{key}='{value}'" for key, value in escaped.items())


def is_local(host: str) -> bool:
    """Say whether ``host``, as libpq has it of a connection, is this machine: a socket's directory, or loopback."""
    return not host or host.startswith(("/", "@")) or host in LOOPBACK


class ServerError(EnvSyncError):
    """The server refused a statement, or a connection; ``sqlstate`` is empty where it could not be reached."""

    def __init__(self, doing: str, why: str, hint: str, sqlstate: str) -> None:
        super().__init__(doing, why, hint)
        self.sqlstate = sqlstate


class Server:
    """Control connections to one PostgreSQL server; opened when first needed.

    :param cancelled: asked while the server keeps us waiting; when it says True, what is under way is cancelled.
    :param replaced: a database that the control connection must not be to: while it is, it can't be renamed.
    :param application: what its sessions call themselves.
    """

    def __init__(
        self,
        connection: Connection,
        cancelled: Callable[[], bool] = lambda: False,
        replaced: str = "",
        application: str = "env_sync",
    ) -> None:
        if not HAS_PSYCOPG2:
            raise MissingLibrary("psycopg2", "psycopg2-binary", "a task with dbms postgresql")
        self._connection = connection
        self.stop = Stop.of(cancelled)
        self._application = application
        self._finishing = False
        self._maintenance = [name for name in _MAINTENANCE if name != replaced]
        self._control: Any = None
        #: a pooler answers, in whose sessions all can be done all the same; None: that is not known yet
        self.pooled: bool | None = None
        #: the control connection has a lock: when it is lost, no other one is opened in its place
        self.pinned = False

    @property
    def name(self) -> str:
        """What messages call the server: its host and port, as asked for or as libpq takes them."""
        host = self._connection.host or os.environ.get("PGHOST", "") or "the local server"
        port = self._connection.port or os.environ.get("PGPORT", "")
        return f"{host}:{port}" if port else host

    def connect(self, database: str, doing: str) -> Any:
        """Return a new autocommit connection to ``database``.

        :raises EnvSyncError: among others, a pooler gives each transaction another session.
        """
        connection = self._open(database, doing)
        try:
            self._look_for_pooler(connection, database, doing)
            connection.set_client_encoding("UTF8")
        except (psycopg2.Error, UnicodeError) as error:
            raise self._error(doing, error, database) from error
        # Names are the catalogue's own, whatever search path the database or the role has.
        self.query("SELECT set_config('search_path', 'pg_catalog', false)", (), doing, connection)
        self.query(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY (%s)",
            (list(_NO_LIMITS),),
            doing,
            connection,
        )
        return connection

    def _open(self, database: str, doing: str) -> Any:
        values: dict[str, Any] = {
            "host": self._connection.host or None,
            "port": self._connection.port or None,
            "user": self._connection.user or None,
            "password": self._connection.password or None,
        }

        def open_connection() -> Any:
            return psycopg2.connect(
                dbname=database,
                application_name=self._application,
                connect_timeout=os.environ.get("PGCONNECT_TIMEOUT", "10"),
                # A control connection says nothing for as long as a restore takes; firewalls forget such ones.
                keepalives_idle=60,
                **{key: value for key, value in values.items() if value is not None},
            )

        try:
            connection = self._call(open_connection, doing)
            connection.set_session(autocommit=True)
            return connection
        except (psycopg2.Error, UnicodeError) as error:
            raise self._error(doing, error, database) from error

    def _look_for_pooler(self, connection: Any, database: str, doing: str) -> None:
        """Find out, once, whether the server itself answers. Nothing may be set in a session before that is known.

        A pooler makes up the process ID that it tells a client. One that gives each transaction another session has
        given the first client's to a second one, which asks while the first is idle: what is set or locked there would
        be an application's.

        :raises EnvSyncError: it is such a one.
        """
        if self.pooled is not None:
            return
        pid = self._pid(connection, doing)
        if pid == connection.info.backend_pid:
            self.pooled = False
            return
        with contextlib.closing(self._open(database, doing)) as second:
            shared = any(self._pid(second, doing) == pid or self._pid(connection, doing) != pid for _unused in range(3))
        if shared:
            connection.close()
            why = f"a pooler answers at {self.name}, which gives each transaction another session"
            raise EnvSyncError(doing, why, "Give the server's own address in database_hostname and database_port.")
        self.pooled = True

    def _pid(self, connection: Any, doing: str) -> int:
        return int(self.query("SELECT pg_backend_pid()", (), doing, connection)[0][0])

    def control(self) -> Any:
        """Return the connection for control statements, to a maintenance database.

        :raises LockLost: it had a lock, and broke.
        """
        if self._control is None or self._control.closed:
            if self.pinned:
                raise LockLost(f"working on {self.name}", "the connection that had it broke")
            self._control = self.another_control(f"connecting to PostgreSQL on {self.name}")
        return self._control

    def another_control(self, doing: str) -> Any:
        """Return a new connection to a maintenance database, for the caller to close."""
        try:
            return self.connect(self._maintenance[0], doing)
        except EnvSyncError as error:
            if "does not exist" not in error.why or self._maintenance[1:] == []:
                raise
            return self.connect(self._maintenance[1], doing)

    def query(
        self, statement: str, parameters: Sequence[Any] = (), doing: str = "", connection: Any = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows (none for a command).

        :param connection: where, instead of the control connection.
        :raises Cancelled: the run is to stop, and the server has cancelled the statement.
        """
        used = connection or self.control()

        def execute() -> list[tuple[Any, ...]]:
            with used.cursor() as cursor:
                # Without parameters nothing is interpolated, so that a % in a name stays what it is.
                cursor.execute(statement, tuple(parameters) if parameters else None)
                return list(cursor.fetchall()) if cursor.description else []

        try:
            return self._call(
                execute, doing or f"running a statement on {self.name}", lambda over: self._cancel(used, over)
            )
        except (psycopg2.Error, UnicodeError) as error:
            failed = self._error(doing or f"running a statement on {self.name}", error)
            if self.pinned and used is self._control and used.closed:
                raise LockLost(failed.doing, failed.why) from error
            raise failed from error

    def _call(
        self,
        ask: Callable[[], _Answer],
        doing: str,
        cancel: Callable[[threading.Event], None] = lambda over: None,
    ) -> _Answer:
        with self.stop.cleaning() if self._finishing else contextlib.nullcontext():
            return interruptible(ask, self.stop, doing, cancel)

    def _cancel(self, connection: Any, over: threading.Event) -> None:
        """Have the server cancel the statement that ``connection`` waits for; hang up on a server that does not."""
        # Not connection.cancel(): psycopg2 keeps all threads from running until the server has answered that.
        asking = threading.Thread(target=self._ask_to_cancel, args=(connection.info.backend_pid,), daemon=True)
        asking.start()
        asking.join(_CANCEL_PATIENCE)
        if not over.wait(_CANCEL_PATIENCE):
            with (
                contextlib.suppress(psycopg2.Error, OSError),
                socket.socket(fileno=os.dup(connection.fileno())) as line,
            ):
                line.shutdown(socket.SHUT_RDWR)
            over.wait(_CANCEL_PATIENCE)

    def _ask_to_cancel(self, pid: int) -> None:
        doing = "cancelling a statement"
        with contextlib.suppress(EnvSyncError):
            another = Server(self._connection)
            with contextlib.closing(another.another_control(doing)) as connection:
                another.query("SELECT pg_cancel_backend(%s)", (pid,), doing, connection)

    def finish(self) -> None:
        """What follows puts in order what a run that stops leaves behind: it may go on as long as there is time."""
        self._finishing = True

    def close(self) -> None:
        """Close the control connection; never raises."""
        if self._control is not None:
            with contextlib.suppress(psycopg2.Error):
                self._control.close()
            self._control = None

    def _error(self, doing: str, error: Exception, database: str = "") -> EnvSyncError:
        why = str(error).strip() or type(error).__name__
        state = getattr(error, "pgcode", None) or ""
        return ServerError(doing, why, _ADVICE.get(state, "") if state else _unreachable(why, database), state)


#: what to do where a pooler (PgBouncer) answers in the server's place
DIRECT = "A pooler answers there: give the server's own address in database_hostname and database_port."

#: what to do where a standby cancels what keeps it from replaying what its primary did
CONFLICT = (
    "It is a standby, which had to replay what the primary did: set hot_standby_feedback = on or "
    "max_standby_streaming_delay = -1 there, or use the primary."
)

#: what to do about an error of the server's, by its SQLSTATE: its text is in the server's language (lc_messages)
_ADVICE = {
    "08P01": DIRECT,
    "25P03": "A limit on idle transactions ended the session: lift it for this role.",
    "25P04": "A limit on transactions ended the session: lift it for this role.",
    "40001": CONFLICT,
    "40P01": "Another session wanted the same things in another order: run again.",
    "55P03": "Another session has the lock: pg_blocking_pids shows which. Run again when it is through.",
    "57014": "Somebody, or a limit of the server's, cancelled the statement: run again.",
    "57P05": "A limit on idle sessions ended the session: lift it for this role.",
    "28000": "Check login_user, and what the server's pg_hba.conf lets it do.",
    "28P01": "Check login_user, and the password in ~/.pgpass or login_password.",
    "3D000": "Check the parameter database.",
    "25006": "It is a standby, or read-only: give the primary's address in database_hostname.",
    "42501": "Give the role of login_user the right that is missing.",
    "53100": "Make room on the database server.",
    "53200": "The server is out of memory, or of locks (max_locks_per_transaction): raise it there.",
    "53300": "Raise the CONNECTION LIMIT of the database and the role, or the server's max_connections.",
    "57P01": "The session was ended by an administrator, or the server was shut down: run again when it is up.",
    "57P02": "The server crashed: look into its log, then run again.",
    "57P03": "The server is starting or shutting down: run again later.",
}


def _unreachable(why: str, database: str) -> str:
    """Return what to do about a connection that was not made, or is lost: libpq gives no SQLSTATE, only a text.

    The server's part of it is in its own language; what is not understood gets advice that holds for all.
    """
    if "unsupported startup parameter" in why or "no such database" in why or "pgbouncer" in why.lower():
        return DIRECT
    if "conflict with recovery" in why:
        return CONFLICT
    if "administrator command" in why:
        return _ADVICE["57P01"]
    if "does not exist" in why and "database" in why:
        return "Check the parameter database."
    if "does not exist" in why and "role" in why:
        return "Check login_user."
    if "authentication failed" in why or "no password supplied" in why:
        return "Check login_user, and the password in ~/.pgpass or login_password."
    if "Connection refused" in why or "No such file or directory" in why or "could not translate" in why:
        return "Check database_hostname and database_port, and that the server is running."
    if "not currently accepting connections" in why:
        return f"ALTER DATABASE {quote(database)} ALLOW_CONNECTIONS true, or leave it out."
    if "too many connections" in why or "remaining connection slots" in why:
        return "Raise the CONNECTION LIMIT of the database and the role, or the server's max_connections."
    return "Check database_hostname, database_port, database, login_user and its password; the server's log says more."
