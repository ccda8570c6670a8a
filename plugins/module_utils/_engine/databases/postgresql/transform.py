# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transformations: the SQL scripts that run on the live database before a push, or on a pull's scratch database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Callable

from ...errors import EnvSyncError
from ...points.scripts import Effect, Script
from ...streams.pipeline import Group
from ..base import within
from . import checks, effect
from .access import Access
from .mark import run_marked
from .psql import run_psql
from .scripts import Ready, ready


class Transformations:
    """The scripts of one run.

    :param scratch: the name of the scratch database.
    """

    def __init__(self, access: Access, scratch: str) -> None:
        self._access = access
        self._server = access.server
        self._scratch = scratch
        self._ready: dict[Script, Ready] = {}
        #: OIDs of the tables in the scratch database that scripts changed
        self.touched: set[int] = set()

    def check(self, scripts: Sequence[Script], before_dump: bool) -> None:
        """Raise where it shows without running them that the scripts can't do their work.

        :param before_dump: they are for the live database.
        """
        database = self._access.database
        doing = f"looking at the transformations of {database} on {self._server.name}"
        if scripts and before_dump and checks.in_recovery(self._server, doing):
            hint = "Give the primary's address in database_hostname, or leave pre_dump_transformation_sql_filename out."
            raise EnvSyncError(doing, "it is a standby, where pre-dump SQL can't run", hint)
        for number, script in enumerate(scripts, 1):
            doing = f"looking through {script.path}, transformation {number} of {database}"
            self._ready[script] = ready(script, doing, before_dump)

    def run(self, scripts: Sequence[Script], before_dump: bool, group: Group) -> list[Effect]:
        """Run the scripts, each in one transaction, on the live database or on the scratch database.

        :returns: what each did.
        :raises EnvSyncError: one did not run to its end, in that database and nowhere else.
        """
        return [self._run(number, script, before_dump, group) for number, script in enumerate(scripts)]

    def _run(self, number: int, script: Script, before_dump: bool, group: Group) -> Effect:
        access = self._access
        database = access.database if before_dump else self._scratch
        doing = f"running {script.path} on {database} on {self._server.name}"
        prepared = self._ready.get(script) or ready(script, doing, before_dump)
        psql = access.programs(doing).path("psql")
        folder = within(access.work_dir, f"script{number}")
        os.mkdir(folder, 0o700)

        environment = dict(access.environment)
        if not before_dump:
            # A policy that would hide rows from a script, which then stay as they are, is an error.
            environment["PGOPTIONS"] = f"{os.environ.get('PGOPTIONS', '')} -c row_security=off".strip()

        def run(files: list[str], where: str, place: Callable[[str, int], str]) -> str:
            return run_psql(group, psql, files, access.conninfo(database), environment, doing, where, place)

        with access.inside(database, doing) as connection:
            ask = access.asking(connection, doing)
            before = effect.look(ask)
            with effect.nothing_prepared(ask, doing):
                mark = run_marked(prepared, folder, doing, self._server, connection, run, group)
            after = effect.look_again(ask, before, mark.session, mark.pending, access.version, group.sleep)
            change = effect.compare(ask, before, after, mark.counting)
        self.touched |= change.oids
        return Effect(prepared.script, sum(change.rows.values()), change.rows, change.altered)
