# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the operator's SQL: wholly or not at all, and without a row's values in what is said of a failure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from .errors import EnvSyncError
from .members import sha256_file
from .pipeline import Group

#: what psql says of an error with VERBOSITY=verbose: ``psql:FILE:LINE: ERROR:  SQLSTATE: MESSAGE``
_ERROR = re.compile(
    r"^psql:(?P<file>.*):(?P<line>\d+): (?:ERROR|FATAL|PANIC): +(?P<state>[0-9A-Z]{5}): (?P<text>.*)$", re.M
)

#: what psql itself complains of (an unknown command, an unset variable), with no SQLSTATE
_COMPLAINT = re.compile(r"^psql:(?P<file>.*):(?P<line>\d+): (?:error: )?(?P<text>.*)$", re.M)

# Classes of errors (PostgreSQL manual, appendix A) whose message can't hold a value of a row: it names objects, or
# quotes the script. Others (22 data exception, P0 raised by a function...) may: "invalid input syntax: ...".
_SAFE_CLASSES = frozenset({"0A", "23", "25", "2B", "2D", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"})


def run_sql_file(
    group: Group, psql: str, script: str, conninfo: str, environment: Mapping[str, str], where: str
) -> None:
    """Run a script with ``psql``, in one transaction that the first error ends.

    The search path is the usual one, so that a script need not qualify the names of tables in ``public``.

    :param where: what to call the database in a message.
    :raises EnvSyncError: names file, line and SQLSTATE, and no value of any row.
    """
    doing = f"running {script} on {where}"
    if not os.access(script, os.R_OK):
        raise EnvSyncError(
            doing, "there is no such file, or it may not be read", "Check the transformation file's name."
        )
    options = f"{os.environ.get('PGOPTIONS', '')} -c statement_timeout=0".strip()
    argv = [psql, "-X", "-q", "-1", "--no-password", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
    stage = group.run(
        [*argv, "-d", conninfo, "-f", script], doing, env=dict(environment, PGOPTIONS=options), checked=False
    )
    stage.join()
    if stage.popen.returncode != 0:
        raise EnvSyncError(doing, describe(stage.stderr_text), "Nothing of it was done. Correct the script.")


def describe(stderr: str) -> str:
    """Return what of psql's complaint may be repeated: where, which error, and its text if that is harmless."""
    match = _ERROR.search(stderr)
    if match is None:
        complaint = _COMPLAINT.search(stderr)
        if complaint is None:
            return "psql failed"
        return f"{complaint['file']}, line {complaint['line']}: {complaint['text']}"
    place = f"{match['file']}, line {match['line']}: SQLSTATE {match['state']}"
    if match["state"][:2] in _SAFE_CLASSES:
        return f"{place}: {match['text']}"
    return f"{place} (its text is withheld, as it may quote data)"


def summarise(scripts: Sequence[str]) -> list[dict[str, str]]:
    """Return what the manifest says of the scripts that ran: their names and SHA-256."""
    return [{"script": os.path.basename(script), "sha256": sha256_file(script)} for script in scripts]
