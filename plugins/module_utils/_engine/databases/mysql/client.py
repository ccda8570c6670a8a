# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL's and MariaDB's own programs, their option files, and the control connection.

Control statements go through PyMySQL rather than the client program: locks have to live exactly as long as a
connection, errors have to come with their numbers, and names and definitions as the server has them.
"""

from __future__ import annotations

import contextlib
import getpass
import glob
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ...errors import EnvSyncError, MissingLibrary
from ...host import programs
from ...host.linux import said
from ...host.stopping import Stop, interruptible
from ...tasks.task import Connection
from ..lease import LockLost

try:
    import pymysql
    import pymysql.err
    from pymysql.constants import CLIENT

    HAS_PYMYSQL = True
except ImportError:
    HAS_PYMYSQL = False

#: where the clients look for options, the later ones win (MySQL manual, "Using Option Files")
OPTION_FILES = ("/etc/my.cnf", "/etc/mysql/my.cnf", "~/.my.cnf")

#: the groups of option files that all clients of both flavours read
_GROUPS = ("client", "client-server", "client-mariadb")

#: and those that the dump programs read beside them
_PROGRAM_GROUPS = (*_GROUPS, "mysqldump", "mariadb-dump")

#: options that say how a program connects. Others say what it does, and are no matter of the user's files.
_CONNECTS = re.compile(
    r"(?:loose-)?(?:(?:skip-|disable-|enable-)?(?:ssl|tls)(?:-.+)?|(?:skip-)?(?:compress|secure-auth)|default-auth"
    r"|compression-algorithms|zstd-compression-level|plugin-dir|plugin-authentication-.+|enable-cleartext-plugin"
    r"|get-server-public-key|server-public-key-path|bind-address|password[123])"
)

#: where distributions put the server's socket
_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")

#: what the server escapes in an option file's values, but for the backslash itself
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", '"': '"', "'": "'", "\\": "\\"}

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

#: how long a program may take to say its version, in seconds
_VERSION_PATIENCE = 10.0

#: how long a server may take to end a statement that it was told to end, in seconds
_CANCEL_PATIENCE = 1.0

# Errors (MySQL manual, "Server Error Message Reference") whose text can't hold a value of a row: it names columns,
# keys, tables, rights. Others (1062 duplicate entry, 1292 incorrect value, 1644 raised by a routine...) may.
_SAFE_ERRORS = frozenset(
    {1044, 1046, 1048, 1114, 1115, 1118, 1136, 1142, 1143, 1153, 1205, 1213, 1215, 1216, 1217, 1227, 1235, 1264, 1290}
    | {1347, 1351, 1356, 1364, 1368, 1370, 1406, 1418, 1419, 1435, 1451, 1452, 1538, 1680, 1728, 1821, 1822, 3105}
    | {3730, 3750, 3780, 3819, 4025, 6125}
)

#: these quote the statement: harmless where that holds no data
_QUOTING_ERRORS = frozenset(
    {1049, 1050, 1051, 1054, 1060, 1061, 1064, 1068, 1071, 1072, 1091, 1109, 1146, 1273, 1286, 1304, 1305, 1359, 1360}
    | {1449}
)

#: what SHOW GRANTS says of rights on whole databases; the name is a pattern of LIKE's
_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?:\*|`(?P<schema>(?:[^`]|``)*)`)\.\* TO ")


def quote(name: str) -> str:
    """Return an SQL identifier, quoted."""
    return "`" + name.replace("`", "``") + "`"


def describe(code: int, text: str, data: bool = False) -> str:
    """Return what of the server's complaint may be repeated: its number, and its text if that is harmless.

    :param data: the statement may hold data.
    """
    if code in _SAFE_ERRORS or 2000 <= code < 3000 or (code in _QUOTING_ERRORS and not data):
        return f"error {code}: {text}"
    return f"error {code} (its text is withheld, as it may quote data)"


def read_options(paths: Sequence[str], groups: Sequence[str] = _GROUPS) -> dict[str, str]:
    """Return the options that these groups have in the option files, as the clients read them; the last one wins.

    Files that are missing or may not be read are passed over, as the clients do.
    """
    return {name: value or "" for group, name, value in _option_lines(paths) if group in groups}


def _option_lines(paths: Sequence[str]) -> Iterator[tuple[str, str, str | None]]:
    """Yield each option of the files: its group, its name, and its value (None where it has none: ``skip-ssl``)."""
    for path in paths:
        group = ""
        try:
            # What an option file includes by a relative path is looked for where the programs start.
            place = os.path.join(programs.START, os.path.expanduser(path))
            with open(place, encoding="utf-8", errors="surrogateescape") as stream:
                lines = stream.read().splitlines()
        except OSError:
            continue
        for line in lines:
            text = line.strip()
            if text.startswith("!includedir"):
                yield from _option_lines(sorted(glob.glob(os.path.join(programs.START, text[11:].strip(), "*.cnf"))))
            elif text.startswith("!include"):
                yield from _option_lines([text[8:].strip()])
            elif text.startswith("["):
                group = text[1:].partition("]")[0].strip()
            elif text and text[0] not in "#;":
                key, equals, value = text.partition("=")
                yield group, key.strip().replace("_", "-"), _value(value) if equals else None


def _value(text: str) -> str:
    """Return an option's value: without a comment, quotes, and escapes."""
    quoted, escaped, end = "", False, len(text)
    for position, character in enumerate(text):
        if character in "'\"" and not escaped:
            quoted = character if not quoted else "" if quoted == character else quoted
        if character == "#" and not quoted:
            end = position
            break
        escaped = bool(quoted) and character == "\\" and not escaped
    value = text[:end].strip()
    if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
        value = value[1:-1]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(0)), value, flags=re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """How to reach the server, as resolved from the task and the option files. ``socket`` is empty over TCP."""

    host: str
    port: int
    socket: str
    user: str
    password: str = field(repr=False)
    tls: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the server."""
        return self.socket or f"{self.host}:{self.port}"


def settings(connection: Connection, files: Sequence[str] = OPTION_FILES) -> Settings:
    """Return how to reach the server: what the task says, else what the option files say, else the clients' defaults.

    A host that begins with a slash is a socket. ``localhost`` is the local socket, as for all clients, unless the task
    gives a port.
    """
    options = read_options(files)
    host = connection.host or options.get("host", "") or "localhost"
    port = connection.port or (int(options["port"]) if options.get("port", "").isdigit() else 3306)
    socket = ""
    if host.startswith("/"):
        host, socket = "localhost", host
    elif host == "localhost" and not connection.port and options.get("protocol", "").lower() != "tcp":
        known = options.get("socket", "") or next((path for path in _SOCKETS if os.path.exists(path)), "")
        socket = known or _SOCKETS[0]
    # A password belongs to its user: one from a file is not for another user of the task's.
    same_user = connection.user in ("", options.get("user", ""))
    return Settings(
        host=host,
        port=port,
        socket=socket,
        user=connection.user or options.get("user", "") or getpass.getuser(),
        password=connection.password or (options.get("password", "") if same_user else ""),
        tls={key: value for key, value in options.items() if "ssl" in key},
    )


def write_defaults(path: str, chosen: Settings, files: Sequence[str] = OPTION_FILES) -> None:
    """Write an option file (mode 0600) with which the programs reach the same server as the control connection.

    It is the only one that they read. Of the users' own files it has what a connection needs (TLS, authentication,
    compression) in the groups where that stands, and nothing that changes what a program does: ``where``,
    ``ignore-table``, ``no-create-info`` or ``replace`` of ``[mysqldump]`` would make points that lack rows.
    """
    values = {"user": chosen.user, "password": chosen.password, "host": chosen.host, "port": str(chosen.port)}
    values["protocol"] = "socket" if chosen.socket else "tcp"
    if chosen.socket:
        values["socket"] = chosen.socket
    lines = [
        f"[{group}]\n{name}{'' if value is None else '=' + _quoted(value)}"
        for group, name, value in _option_lines(files)
        if group in _PROGRAM_GROUPS and _CONNECTS.fullmatch(name)
    ]
    lines += ["[client]", *(f"{key}={_quoted(value)}" for key, value in values.items())]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write("\n".join(lines) + "\n")


def write_left_out(path: str, defaults: str, names: Sequence[str]) -> None:
    """Write an option file (mode 0600) that has a dump program leave out tables, more than a command line has room for.

    :param defaults: the option file whose options hold too.
    :param names: as ``--ignore-table`` takes them: ``database.table``.
    """
    lines = [f"!include {defaults}", "[mysqldump]", *(f"ignore-table={_quoted(name)}" for name in names)]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write("\n".join(lines) + "\n")


def _quoted(value: str) -> str:
    """Return a value as option files have it, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


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


class ServerError(EnvSyncError):
    """The server refused a statement, or a connection; ``code`` is its error number."""

    def __init__(self, doing: str, code: int, text: str, why: str = "", hint: str = "") -> None:
        super().__init__(doing, why or text, hint or _hint(code, text))
        self.code = code


class Server:
    """Control connections to one server; opened when first needed.

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

        :param connection: where, instead of the control connection.
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
        return "mariadb" in self.version.lower()

    @property
    def version_number(self) -> tuple[int, int]:
        """Major and minor version."""
        # Some MariaDB servers put 5.5.5- before their version, for replicas of long ago.
        match = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)", self.version)
        return (int(match[1]), int(match[2])) if match else (0, 0)

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

    def require_tls_for(self, program: Program, doing: str) -> None:
        """Raise when the program would not connect: since 11.4 MariaDB's want TLS, unless an option says otherwise."""
        options = self.settings.tls
        wanted = program.mariadb and program.version >= (11, 4) and not self.settings.socket
        if not wanted or False in (_switch(options, "ssl"), _switch(options, "ssl-verify-server-cert")):
            return
        if not self.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'", doing=doing)[0][1]:
            raise EnvSyncError(
                doing,
                f"{self.name} has no TLS, and {program.path} wants it",
                "Give it a certificate, or put disable-ssl-verify-server-cert below [client-mariadb] in ~/.my.cnf.",
            )

    def close(self) -> None:
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


def code_and_text(error: Exception) -> tuple[int, str]:
    """Return the number and the text of what PyMySQL raised; 0 where it is not the server's."""
    if len(error.args) > 1 and isinstance(error.args[0], int):
        return error.args[0], str(error.args[1]).strip()
    return 0, str(error).strip() or type(error).__name__


def _switch(options: Mapping[str, str], name: str) -> bool | None:
    """Return whether an option is switched on (``ssl``, ``ssl=1``) or off (``skip-ssl``, ``ssl=0``); None: neither."""
    if f"skip-{name}" in options or f"disable-{name}" in options:
        return False
    return options[name].lower() not in ("0", "off", "false") if name in options else None


def _tls(options: Mapping[str, str]) -> dict[str, Any]:
    """Return PyMySQL's TLS parameters for the clients' ``ssl-*`` options."""
    values: dict[str, Any] = {}
    for key in ("ca", "cert", "key"):
        if options.get(f"ssl-{key}"):
            values[f"ssl_{key}"] = os.path.expanduser(options[f"ssl-{key}"])
    mode = options.get("ssl-mode", "").upper()
    if mode == "DISABLED" or _switch(options, "ssl") is False:
        return {"ssl_disabled": True}
    if mode == "VERIFY_IDENTITY" or _switch(options, "ssl-verify-server-cert"):
        values.update(ssl_verify_cert=True, ssl_verify_identity=True)
    elif mode == "VERIFY_CA":
        values.update(ssl_verify_cert=True)
    elif mode == "REQUIRED" or _switch(options, "ssl"):
        values.setdefault("ssl", dict(_ANY_TLS))
    return values


def _hint(code: int, text: str) -> str:
    if code in (1044, 1142, 1143, 1227, 1370, 1419):
        return "Give the user of login_user the right that is missing (the documentation lists what a task needs)."
    if code in (1045, 1698, 1130):
        return "Check login_user, and the password in ~/.my.cnf or login_password."
    if code == 1049:
        return "Check the parameter database."
    if code in (2002, 2003, 2005):
        return "Check database_hostname and database_port, and that the server is running."
    if code == 1205:
        return "End the transaction that uses these tables, or give this user the right to (CONNECTION ADMIN)."
    if code == 1153:
        return "Raise max_allowed_packet on the server."
    if "cryptography" in text:
        return "Install the Python library cryptography, or use TLS (ssl-ca in ~/.my.cnf)."
    return ""


@dataclass(frozen=True)
class Program:
    """A client program; ``version`` is major and minor of the distribution that it is from."""

    path: str
    mariadb: bool
    version: tuple[int, int]
    text: str


def find_program(names: Sequence[str], mariadb: bool, server_version: tuple[int, int], doing: str) -> Program:
    """Return the program of the server's own flavour, else of the other one.

    :param names: what the program is called, MariaDB's own name first.
    :raises EnvSyncError: there is none, or only an older one of the same flavour.
    """
    found = [program for program in map(_program, names if mariadb else reversed(names)) if program]
    flavour = "MariaDB" if mariadb else "MySQL"
    if not found:
        raise EnvSyncError(
            doing, f"{' or '.join(names)} is not installed", f"Install the client programs of {flavour}."
        )
    best = next((program for program in found if program.mariadb == mariadb), found[0])
    if best.mariadb == mariadb and best.version[0] < server_version[0]:
        raise EnvSyncError(
            doing,
            f"{best.path} is of version {best.version[0]}.{best.version[1]}, older than the server's "
            f"{server_version[0]}.{server_version[1]}",
            f"Install the client programs of {flavour} {server_version[0]}.{server_version[1]}.",
        )
    return best


def mistakes_charset(program: Program, mariadb: bool, server_version: tuple[int, int]) -> bool:
    """Say whether the server takes a program to speak its own default character set, whatever the program asks for.

    Programs of MySQL 8 and newer ask for utf8mb4 by the number of a collation that only MySQL 8 and newer know.
    """
    return not program.mariadb and program.version >= (8, 0) and (mariadb or server_version < (8, 0))


def _program(name: str) -> Program | None:
    path = programs.find(name)
    if path is None:
        return None
    # First, as the programs want it: an option in the user's files that they don't know would end them.
    text = said([path, "--no-defaults", "--version"], _VERSION_PATIENCE)
    # "Ver 10.19 Distrib 10.11.6-MariaDB": where there are two numbers, the first is the program's own.
    match = re.search(r"(?:Distrib|from) (\d+)\.(\d+)", text) or re.search(r"Ver (\d+)\.(\d+)", text)
    if match is None:
        return None
    return Program(path, "mariadb" in text.lower(), (int(match[1]), int(match[2])), " ".join(text.split()))
