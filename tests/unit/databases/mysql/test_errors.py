# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be repeated of a server's complaint."""

from __future__ import annotations

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mysql.errors import describe


@pytest.mark.parametrize(
    ("code", "text", "repeated", "of_data"),
    [
        (1146, "Table 'a.b' doesn't exist", True, False),
        (1064, "You have an error in your SQL syntax near 'someone@example.com'", True, False),
        (1452, "a foreign key constraint fails", True, True),
        (3819, "Check constraint 'c' is violated.", True, True),
        (2006, "Server has gone away", True, True),
        (1062, "Duplicate entry 'someone@example.com' for key 'email'", False, False),
        (1644, "raised", False, False),
        (99999, "new", False, False),
    ],
)
def test_what_is_repeated_of_an_error(code: int, text: str, repeated: bool, of_data: bool) -> None:
    assert (text in describe(code, text)) is repeated
    assert (text in describe(code, text, data=True)) is of_data
