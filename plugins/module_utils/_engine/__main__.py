# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python3 -m _engine``: the command, with the folder that holds this package on Python's path."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
