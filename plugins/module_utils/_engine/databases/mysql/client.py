# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to a MySQL or MariaDB server, and the queries of env_sync itself.

They go through PyMySQL rather than the client program: locks have to live exactly as long as a connection, errors have
to come with their numbers, and names and definitions as the server has them.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from ...errors import EnvSyncError, MissingLibrary
from ...host.stopping import Stop, interruptible
from ...tasks.task import Connection
from ..lease import LockLost
from .errors import ServerError, code_and_text, describe
from .options import settings, switch

try:
    import pymysql
    import pymysql.err
    from pymysql.constants import CLIENT

    HAS_PYMYSQL = True
except ImportError:
    HAS_PYMYSQL = False

#: what a connection does without: MariaDB's and MySQL's limits of time; figures of tables that are as old as a day; and
#: MySQL's rules for new tables, which a table of the source's may not obey
_LIMITS = ("max_statement_time", "max_execution_time")

_OFF = (
    *_LIMITS,
    "sql_safe_updates",
    "transaction_read_only",
    "tx_read_only",  # its name in older servers
    "information_schema_stats_expiry",
    "sql_require_primary_key",
    "restrict_fk_on_non_standard_key",
)

#: a control connection says nothing for as long as a restore takes, and the store may be slow, in seconds
_PATIENCE = 31536000

#: an SQL mode that takes all that any other one has let into a table, also days that a month has not
PLAIN_MODE = "ALLOW_INVALID_DATES"

#: the greatest value of ``sql_select_limit``: none
_ALL_ROWS = 18446744073709551615

#: the version of PyMySQL since which a connection has TLS where the server has it, without being told to
_PREFERS_TLS = (1, 2)

#: what PyMySQL wants to hear for TLS with whatever certificate the server has, as the clients' default is
_ANY_TLS: Mapping[str, Any] = {"check_hostname": False, "verify_mode": False}

#: the connection broke
_GONE = (2006, 2013)

#: the connection broke, or the server ended it: by KILL, at its own end, after its patience
_ENDED = (*_GONE, 1053, 1927, 3169, 4031)

#: a client's error: there is no TLS with this server
_TLS_FAILED = 2026

#: after how long a silent connection shows that it lives, in seconds: firewalls forget it within minutes
_KEEP_ALIVE = 60

#: how long a server may take to end a statement that it was told to end, in seconds
_CANCEL_PATIENCE = 1.0

#: what SHOW GRANTS says of rights on whole databases; the name is a pattern of LIKE's
_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?:\*|`(?P<schema>(?:[^`]|``)*)`)\.\* TO ")


def quote(name: str) -> str:
    """Return an SQL identifier, quoted."""
    return "`" + name.replace("`", "``") + "`"


def _connect(options: Mapping[str, Any], several: bool) -> Any:
    """Return a connection on which the server takes one statement at a time, or several.

    The guard of dumps (:mod:`.statements`) goes by how a statement begins, and does not read rows: what followed a
    semicolon in them would run too where several statements may come at once. PyMySQL before 1.0 allows that unasked.
    """
    connection = pymysql.connect(**options, defer_connect=True)
    connection.client_flag &= ~CLIENT.MULTI_STATEMENTS
    connection.client_flag |= CLIENT.MULTI_STATEMENTS if several else 0
    connection.connect()
    return connection


class Server:
    """One server: a control connection, opened when it is first needed, and others for work of their own.

    :param cancelled: asked while the server keeps us waiting; when it says True, what is under way is cancelled.
    """

    def __init__(self, connection: Connection, cancelled: Callable[[], bool] = lambda: False) -> None:
        if not HAS_PYMYSQL:
            raise MissingLibrary("pymysql", "PyMySQL", "a task with dbms mysql")
        self.settings = settings(connection)
        self.stop = Stop.of(cancelled)
        self._control: Any = None
        self._version = ""
        #: the control connection has a lock: when it is lost, no other one is opened in its place
        self.pinned = False

    @property
    def name(self) -> str:
        """What messages call the server."""
        return self.settings.name

    def _open(
        self, doing: str, database: str = "", raw: bool = False, several: bool = False, files: bool = False
    ) -> Any:
        """Return a new connection.

        :param several: it takes several statements at once.
        :param files: the server may ask for files of this host (LOAD DATA LOCAL).
        """
        chosen = self.settings
        values: dict[str, Any] = {"unix_socket": chosen.socket} if chosen.socket else {"host": chosen.host}
        values.update(
            user=chosen.user,
            password=chosen.password.encode("utf-8", "surrogateescape"),
            port=chosen.port,
            database=database or None,
            charset="utf8mb4",
            use_unicode=not raw,
            autocommit=True,
            program_name="env_sync",
            local_infile=files,
        )
        # Over a socket nobody listens; elsewhere TLS is used where the server has it, as the clients do.
        tls = {"ssl_disabled": True} if chosen.socket else _tls(chosen.tls)
        if not tls and pymysql.VERSION < _PREFERS_TLS:
            options = {**values, "ssl": dict(_ANY_TLS)}
            try:
                return _kept_alive(interruptible(lambda: _connect(options, several), self.stop, doing))
            except (pymysql.err.Error, RuntimeError, OSError) as error:
                # Another login after one that was refused would count twice where the server locks accounts.
                if not _is_of_tls(error):
                    raise self._error(doing, error) from error
        try:
            connection = interruptible(lambda: _connect({**values, **tls}, several), self.stop, doing)
        except (pymysql.err.Error, RuntimeError, OSError) as error:
            raise self._error(doing, error) from error
        return connection if chosen.socket else _kept_alive(connection)

    def connect(self, doing: str, database: str = "", raw: bool = False) -> Any:
        """Return a new autocommit connection with no limits of time and the plainest SQL mode (:data:`PLAIN_MODE`).

        :param raw: strings come as the bytes that the server has, not converted to any character set.
        """
        connection = self._open(doing, database, raw)
        self._settle(connection, doing, f", sql_mode = '{PLAIN_MODE}'", _OFF)
        if raw:
            self.query("SET SESSION character_set_results = NULL", doing=doing, connection=connection)
        return connection

    def session(self, doing: str, database: str, local_files: bool) -> Any:
        """Return a new autocommit connection for an operator's script, with the server's own SQL mode.

        It has no limits of time, and takes several statements at once, as the client programs' have. Rows are bytes.

        :param local_files: files of this host may be loaded (LOAD DATA LOCAL).
        """
        connection = self._open(doing, database, True, several=True, files=local_files)
        self._settle(connection, doing, "", _LIMITS)
        return connection

    def _settle(self, connection: Any, doing: str, more: str, off: Sequence[str]) -> None:
        """Take a new connection out of what the server or its administrator has as defaults."""
        # Said, not asked for: the server's greeting shows autocommit as on, whatever init_connect or its default is.
        self.query(
            f"SET SESSION autocommit = 1, wait_timeout = {_PATIENCE}, net_read_timeout = 86400, "
            f"net_write_timeout = 86400, sql_select_limit = {_ALL_ROWS}{more}",
            doing=doing,
            connection=connection,
        )
        for setting in off:
            with contextlib.suppress(ServerError):  # not every server has it, nor may every user set it
                self.query(f"SET SESSION {setting} = 0", doing=doing, connection=connection)

    def what_hides_rows(self, doing: str) -> list[str]:
        """Return what keeps rows from a session that sets nothing for itself, as a dump program's does not.

        It is asked on such a connection: the server's defaults and its ``init_connect`` make it what it is.
        """
        hiding = []
        with contextlib.closing(self._open(doing)) as connection:
            limit = int(self.query("SELECT @@SESSION.sql_select_limit", (), doing, connection)[0][0])
            if limit != _ALL_ROWS:
                hiding.append(f"sql_select_limit = {limit}")
            with contextlib.suppress(ServerError):  # MariaDB's alone
                moment = str(self.query("SELECT @@SESSION.system_versioning_asof", (), doing, connection)[0][0])
                if moment != "DEFAULT":
                    hiding.append(f"system_versioning_asof = {moment}")
        return hiding

    def control(self) -> Any:
        """Return the connection for control statements.

        :raises LockLost: it had a lock, and broke.
        """
        if self._control is None or not self._control.open:
            if self.pinned:
                raise LockLost(f"working on {self.name}", "the connection that had it broke")
            self._control = self.connect(f"connecting to the database server on {self.name}")
        return self._control

    def query(
        self, statement: str, parameters: Sequence[Any] = (), doing: str = "", connection: Any = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows (none for a command).

        :param parameters: values for each ``%s``; without any, a ``%`` is nothing but a ``%``.
        :param doing: what it is for, the first part of its error message.
        :param connection: where, instead of the control connection.
        :raises ServerError: the server refuses it.
        :raises LockLost: the control connection had a lock, and broke.
        :raises Cancelled: the run is to stop, and the server has ended the statement.
        """
        used = connection or self.control()
        doing = doing or f"running a statement on {self.name}"

        def execute() -> list[tuple[Any, ...]]:
            with used.cursor() as cursor:
                # Without parameters nothing is interpolated, so that a % in a name stays what it is.
                cursor.execute(statement, tuple(parameters) if parameters else None)
                return list(cursor.fetchall())

        try:
            return interruptible(execute, self.stop, doing, lambda over: self.cancel(used, over))
        except (pymysql.err.Error, OSError) as error:
            failed = self._error(doing, error)
            if self.pinned and used is self._control and (failed.code in _ENDED or not used.open):
                self.close()
                raise LockLost(doing, failed.why) from error
            raise failed from error

    def cancel(self, connection: Any, over: threading.Event) -> None:
        """Have the server end the statement that ``connection`` waits for; hang up on a server that does not."""
        asking = threading.Thread(target=self.kill, args=([connection.thread_id()], "QUERY"), daemon=True)
        asking.start()
        asking.join(_CANCEL_PATIENCE)
        if not over.wait(_CANCEL_PATIENCE):
            with contextlib.suppress(AttributeError, OSError):
                connection._sock.shutdown(socket.SHUT_RDWR)
            over.wait(_CANCEL_PATIENCE)
        elif not asking.is_alive():
            # It may have come too late for this statement, and is not to end the one after it.
            with contextlib.suppress(pymysql.err.Error, OSError):
                connection.query("DO 0")

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """What is run meanwhile may go on as long as there is time: it puts in order what a run that stops leaves."""
        with self.stop.cleaning():
            yield

    def send(self, statement: bytes, connection: Any, doing: str, data: bool = False) -> bool:
        """Run a statement of a dump: of an error, no more is repeated than may be. Return whether the server warns.

        :param data: it holds rows.
        :raises ServerError: the server refuses it.
        """
        try:
            connection.query(statement)
            return bool(connection._result.warning_count)
        except (pymysql.err.Error, OSError) as error:
            code, text = code_and_text(error)
            if code in _GONE and len(statement) > 1 << 20:
                # Of a statement that is too long, the server hears no more; it closes the connection.
                longest = self._longest_statement(doing)
                if len(statement) >= longest:
                    code, text = 1153, f"a statement has {len(statement)} bytes, max_allowed_packet is {longest}"
            raise ServerError(doing, code, text, describe(code, text, data)) from error

    def _longest_statement(self, doing: str) -> int:
        with contextlib.closing(self._open(doing)) as connection:
            return int(self.query("SELECT @@max_allowed_packet", (), doing, connection)[0][0])

    def kill(self, identifiers: Sequence[int], what: str = "CONNECTION") -> None:
        """End these connections (or the ``QUERY`` that each is at), those that this user may; never raises."""
        doing = "ending connections"
        with (
            contextlib.suppress(EnvSyncError),
            self.stop.cleaning(),
            contextlib.closing(self._open(doing)) as connection,
        ):
            for identifier in identifiers:
                with contextlib.suppress(ServerError):
                    self.query(f"KILL {what} {int(identifier)}", (), doing, connection)

    @property
    def version(self) -> str:
        """The server's version as it says (``10.11.6-MariaDB-0+deb12u1``, ``8.4.3``)."""
        if not self._version:
            self._version = str(self.query("SELECT VERSION()", doing=f"asking {self.name} for its version")[0][0])
        return self._version

    @property
    def mariadb(self) -> bool:
        """Whether the server is MariaDB's."""
        return "mariadb" in self.version.lower()

    @property
    def version_number(self) -> tuple[int, int]:
        """Major and minor version."""
        # Some MariaDB servers put 5.5.5- before their version, for replicas of long ago.
        match = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)", self.version)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    def folds_names(self, doing: str) -> bool:
        """Say whether names of tables that differ in the case of their letters only are one to the server."""
        return bool(self.query("SELECT @@lower_case_table_names", doing=doing)[0][0])

    def rights(self, schema: str = "") -> frozenset[str]:
        """Return the rights that this user and its active roles have on all of a schema, without one: on the server.

        They are spelt as SHOW GRANTS does (``SHOW VIEW``, ``SET_ANY_DEFINER``; ``ALL PRIVILEGES`` for all there are).
        """
        whose = ""
        if not self.mariadb:  # which shows the roles' by itself
            with contextlib.suppress(ServerError):  # MySQL 5.7 has no roles
                roles = str(self.query("SELECT CURRENT_ROLE()")[0][0])
                whose = f" FOR CURRENT_USER() USING {roles}" if roles != "NONE" else ""
        rows = self.query(f"SHOW GRANTS{whose}", doing=f"asking {self.name} for this user's rights")
        found: set[str] = set()
        for match in filter(None, (_GRANT.match(str(line)) for (line,) in rows)):
            on = match["schema"]
            if on is None or (schema and _like(on.replace("``", "`"), schema)):
                found.update(re.split(r",\s*", match["rights"]))
        return frozenset(found)

    def has_right(self, right: str, schema: str = "") -> bool:
        """Say whether this user has a right on all of a schema, without one: on the server."""
        return bool(self.rights(schema) & {right, "ALL PRIVILEGES"})

    def close(self) -> None:
        """Close the control connection; never raises."""
        if self._control is not None:
            with contextlib.suppress(pymysql.err.Error, OSError):
                self._control.close()
            self._control = None

    def _error(self, doing: str, error: Exception) -> ServerError:
        code, text = code_and_text(error)
        return ServerError(doing, code, text)


def _like(pattern: str, text: str) -> bool:
    """Say whether a text is LIKE a pattern; a backslash makes the next character stand for itself."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.fullmatch("".join(wild.get(part) or re.escape(part[-1]) for part in parts), text, re.DOTALL) is not None


def _kept_alive(connection: Any) -> Any:
    """Return the connection; over TCP, it shows by itself that it lives."""
    connection._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE)
    return connection


def _is_of_tls(error: Exception) -> bool:
    """Say whether a connection failed for TLS itself, before anybody logged in."""
    cause = getattr(error, "original_exception", error)
    return isinstance(cause, (ssl.SSLError, NotImplementedError)) or code_and_text(error)[0] == _TLS_FAILED


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    """Return PyMySQL's TLS parameters for the clients' ``ssl-*`` options."""
    values: dict[str, Any] = {}
    for key in ("ca", "cert", "key"):
        if options.get(f"ssl-{key}"):
            values[f"ssl_{key}"] = os.path.expanduser(options[f"ssl-{key}"])
    mode = options.get("ssl-mode", "").upper()
    if mode == "DISABLED" or switch(options, "ssl") is False:
        return {"ssl_disabled": True}
    if mode == "VERIFY_IDENTITY" or switch(options, "ssl-verify-server-cert"):
        values.update(ssl_verify_cert=True, ssl_verify_identity=True)
    elif mode == "VERIFY_CA":
        values.update(ssl_verify_cert=True)
    elif mode == "REQUIRED" or switch(options, "ssl"):
        values.setdefault("ssl", dict(_ANY_TLS))
    return values
