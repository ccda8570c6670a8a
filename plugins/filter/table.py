# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: table
short_description: Rows as a table
version_added: 0.2.0
author:
  - govuk.env_sync contributors (@alphagov)
description:
  - Makes a table of rows, for people or for programs.
positional: style
options:
  _input:
    description:
      - The rows, mappings with the same keys in the same order, which are the table's head.
      - What has a key that ends with C(_bytes) is shown to people in units.
    type: list
    elements: dict
    required: true
  style:
    description: How it looks.
    type: str
    choices: [text, markdown, csv]
    default: text
"""

EXAMPLES = r"""
- name: Show who has what
  ansible.builtin.debug:
    msg: "{{ [{'host': 'db-1', 'task': 'push_shop'}] | govuk.env_sync.table | split('\n') }}"
"""

RETURN = r"""
_value:
  description: The table, of as many lines as there are rows and a head. Empty where there are no rows.
  type: str
"""

import csv
import io

from ansible.errors import AnsibleFilterError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import text as command_text
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import one_line, visible


def table(rows, style="text"):
    """Return rows as text."""
    if style not in STYLES:
        raise AnsibleFilterError(f"there is no style {style} of tables. Known are {', '.join(STYLES)}.")
    if not rows:
        return ""
    head = list(rows[0])
    return STYLES[style](head, [["" if row[key] is None else str(row[key]) for key in head] for row in rows])


def _for_people(head, rows):
    """Return head and rows with bytes in units."""
    sizes = [name.endswith("_bytes") for name in head]
    names = [name[: -len("_bytes")] if is_size else name for name, is_size in zip(head, sizes)]
    cells = [
        [command_text.size(int(cell)) if is_size and cell.isdigit() else cell for cell, is_size in zip(row, sizes)]
        for row in rows
    ]
    return [name.replace("_", " ") for name in names], cells


def _text(head, rows):
    head, rows = _for_people(head, rows)
    cells = [[one_line(cell) or "-" for cell in row] for row in rows]
    return "\n".join(command_text.table([name.upper() for name in head], cells))


def _markdown(head, rows):
    head, rows = _for_people(head, rows)
    lines = [head, ["---"] * len(head)]
    lines += [[one_line(cell).replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _csv(head, rows):
    stream = io.StringIO()
    cells = [["\n".join(map(visible, cell.split("\n"))) for cell in row] for row in rows]
    csv.writer(stream, lineterminator="\n").writerows([head, *cells])
    return stream.getvalue().rstrip("\n")


STYLES = {"text": _text, "markdown": _markdown, "csv": _csv}


class FilterModule:
    """The collection's filters."""

    def filters(self):
        return {"table": table}
