# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a pull says of the objects that it restores in another way than they were, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .toc import Entry

#: reasons for which all names are given, however many
FOREIGN = "as it reaches the source's servers (keep_foreign_servers brings it)"
ON_FOREIGN = "as it depends on what reaches the source's servers"

#: so many names stand in a line about many objects
_SHOWN = 20


class Notes:
    """Collects what was changed, to say it in a few lines however many objects it concerns.

    Names of objects and ``label`` are as messages call them (:attr:`.toc.Entry.label`).

    :param in_full: reasons for leaving something out for which all names are given.
    """

    def __init__(self, in_full: Collection[str]) -> None:
        self._in_full = in_full
        self._left_out: dict[str, list[str]] = {}
        self._owners: dict[tuple[str, str], list[str]] = {}
        self._roles: dict[str, list[str]] = {}
        self._grantors: dict[str, list[str]] = {}
        self._tablespaces: dict[str, list[str]] = {}
        self._closed: dict[tuple[str, str], list[str]] = {}
        self._said: list[str] = []

    def left_out(self, reason: str, entry: Entry) -> None:
        """An entry is not restored."""
        self._left_out.setdefault(reason, []).append(f"{entry.desc} {entry.tag}")

    def owner(self, was: str, becomes: str, name: str) -> None:
        """An object gets another owner."""
        self._owners.setdefault((was, becomes), []).append(name)

    def grant(self, role: str, label: str) -> None:
        """A grant is left out, as it names a role that does not exist here."""
        self._roles.setdefault(role, []).append(label)

    def grantor(self, role: str, label: str) -> None:
        """A grant that a role had made is made by the object's owner."""
        self._grantors.setdefault(role, []).append(label)

    def tablespace(self, name: str, label: str) -> None:
        """An object goes into the default tablespace in place of that one."""
        self._tablespaces.setdefault(name, []).append(label)

    def closed(self, was: str, becomes: str, name: str) -> None:
        """A function is closed to all but its new owner, with whose rights it runs."""
        self._closed.setdefault((was, becomes), []).append(name)

    def say(self, text: str) -> None:
        """Have a line of its own."""
        self._said.append(text)

    def lines(self) -> tuple[str, ...]:
        """Return the warnings."""
        lines = []
        for (was, becomes), names in sorted(self._owners.items()):
            lines.append(
                f"{_count(names, 'object')} of role {was} will belong to {becomes}, who can own them here: "
                f"{listed(names)}"
            )
        for (was, becomes), names in sorted(self._closed.items()):
            lines.append(
                f"{_count(names, 'function')} with SECURITY DEFINER of role {was} will run with the rights of "
                f"{becomes}: nobody else may execute them here: {listed(names)}"
            )
        for role, names in sorted(self._roles.items()):
            lines.append(f"{_count(names, 'grant')} left out: role {role} does not exist here: {listed(names)}")
        for role, names in sorted(self._grantors.items()):
            lines.append(f"{_count(names, 'grant')} by role {role} made by the object's owner instead: {listed(names)}")
        for name, names in sorted(self._tablespaces.items()):
            lines.append(
                f"{_count(names, 'object')} moved to the default tablespace: {name} does not exist here, or is not "
                f"open to this role: {listed(names)}"
            )
        return (*lines, *self._said, *left_out_lines(self._left_out, self._in_full))


def left_out_lines(reasons: Mapping[str, Sequence[str]], in_full: Collection[str] = ()) -> list[str]:
    """Return a line for each reason to leave something out; with all names where these lead to other servers.

    :param in_full: other reasons for which there are all names.
    """
    everything = {FOREIGN, ON_FOREIGN, *in_full}
    return [
        f"left out, {reason}: {listed(names, len(names) if reason in everything else _SHOWN)}"
        for reason, names in sorted(reasons.items())
    ]


def listed(names: Sequence[str], most: int = _SHOWN) -> str:
    """Return the names, or the first of very many."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}" if len(names) == 1 else f"{len(names)} {what}s"
