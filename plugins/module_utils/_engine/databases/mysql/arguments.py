# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Command lines of the dump program: which database, which of its tables, and the options that make a dump portable."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Sequence
from typing import Callable

from ...errors import EnvSyncError
from ..base import within
from .options import write_defaults, write_left_out
from .programs import Program
from .tables import Tables

#: how much of a command line may name tables that are left out, in bytes: half of what Linux gives by default
_MOST_ARGUMENTS = 1024 * 1024


class Arguments:
    """Argument vectors of the dump program for one database.

    :param work_dir: a directory for option files; None where no program is run.
    """

    def __init__(self, tables: Tables, work_dir: str | None) -> None:
        self._database = tables.database
        self._tables = tables
        self._work_dir = work_dir
        self._defaults_path = ""

    def close(self) -> None:
        """Remove the option file, which has the password."""
        if self._defaults_path:
            with contextlib.suppress(OSError):
                os.unlink(self._defaults_path)

    def _defaults(self) -> str:
        """Return the option file for the programs, which has the password; :meth:`close` removes it."""
        if not self._defaults_path:
            path = within(self._work_dir, "my.cnf")
            write_defaults(path, self._tables.server.settings)
            self._defaults_path = path
        return self._defaults_path

    def environment(self) -> dict[str, str]:
        """Return what keeps MySQL's programs from ``~/.mylogin.cnf``, which they read after the given file.

        (MySQL manual, "mysql_config_editor": MYSQL_TEST_LOGIN_FILE.)
        """
        return {"MYSQL_TEST_LOGIN_FILE": within(self._work_dir, "no-login-file")}

    def base(self, program: Program) -> list[str]:
        """Return what all command lines begin with: the program, its option file, and how it is to dump."""
        argv = [program.path, f"--defaults-file={self._defaults()}", "--opt", "--single-transaction", "--quick"]
        argv += ["--skip-lock-tables", "--skip-add-locks", "--hex-blob", "--tz-utc", "--comments", "--no-tablespaces"]
        argv += ["--default-character-set=utf8mb4", "--max-allowed-packet=1G"]
        if not program.mariadb:
            # GTIDs belong to the source; statistics of columns are asked of servers that have none.
            argv.append("--set-gtid-purged=OFF")
            if program.version >= (8, 0):
                argv.append("--column-statistics=0")
        return argv

    def all_but(self, left_out: Sequence[str], doing: str) -> list[str]:
        """Return the arguments that have a program dump all tables and views but some.

        ``--ignore-table`` leaves out all whose names differ from that one in case only too. Where there are such, what
        is wanted is named.
        """
        wanted = [name for name in self._tables.in_order(doing) if name not in left_out]
        return choosing(self._database, wanted, left_out)

    def only(self, base: Sequence[str], tables: Iterable[str], doing: str) -> Callable[[Sequence[str]], list[str]]:
        """Return a function that gives the command line which dumps some of these tables, and no view or sequence.

        The program looks each table up that is named, before it dumps the first of them and while nobody may write:
        two thousandths of a second each on MySQL. So the others are named as those to leave out, which takes no time;
        where they are many, in an option file.
        """
        everything = self._tables.names(doing).union(tables)

        def command(share: Sequence[str]) -> list[str]:
            left_out = sorted(everything.difference(share))
            names = [f"{self._database}.{table}" for table in left_out]
            if _room(names) <= _MOST_ARGUMENTS // 2 or _alike(share, left_out):
                return [*base, *choosing(self._database, share, left_out)]
            path = within(self._work_dir, f"left-out-{secrets.token_hex(4)}.cnf")
            write_left_out(path, self._defaults(), names)
            return [base[0], f"--defaults-file={path}", *base[2:], "--", self._database]

        return command

    def without_rows(self, rowless: Sequence[str], program: Program, doing: str) -> list[str]:
        """Return the arguments with which a program dumps a whole database, but no rows of these tables.

        :raises EnvSyncError: it can't.
        """
        if not rowless:
            return []
        names = [name.lower() for name in self._tables.base(doing)]
        if not program.mariadb or any(names.count(name.lower()) > 1 for name in rowless):
            raise EnvSyncError(
                doing,
                f"{program.text} can't leave out the rows of {', '.join(rowless[:5])} in a dump in one stream",
                "Set format to directory.",
            )
        return [f"--ignore-table-data={self._database}.{table}" for table in rowless]


def choosing(database: str, wanted: Sequence[str], left_out: Sequence[str]) -> list[str]:
    """Return the arguments that have a dump program dump some tables and views of a database and not the others.

    Those left out are named, unless that would leave out wanted ones too (``--ignore-table`` takes no notice of case),
    or is too much for one command line; then the wanted ones are.
    """
    ignoring = [f"--ignore-table={database}.{table}" for table in left_out]
    if _alike(wanted, left_out) or _room(ignoring) > max(_MOST_ARGUMENTS, _room(wanted)):
        return ["--", database, *wanted]
    return [*ignoring, "--", database]


def _alike(wanted: Sequence[str], left_out: Sequence[str]) -> bool:
    """Say whether names of both differ in case only."""
    return not {name.lower() for name in wanted}.isdisjoint(name.lower() for name in left_out)


def _room(arguments: Sequence[str]) -> int:
    """Return the bytes that arguments take of what the kernel gives to a program (execve(2)): text, end, pointer."""
    return sum(len(argument.encode()) + 9 for argument in arguments)
