# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the launchers start by its path: ``python3 -I start.py command|reboot_lock ARGUMENT...``.

With ``-I`` Python looks for modules neither in the current directory nor in one that the environment names nor in the
user's own, and reads no other variable of its own either: whoever calls the command, as whom and where, it is this
code that runs.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Without the link that leads to this release: what is imported later is of the same one.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    __package__ = "_engine"  # PEP 366: so that relative imports know where they start
    program = sys.argv.pop(1)
    if program == "reboot_lock":
        from .host.reboot_lock import main
    else:
        from .command.main import main
    raise SystemExit(main())
