# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The AWS command line, as an operator has it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.servers import made, pip_install

_AWSCLI = "awscli==1.45.11"


def installed() -> Path:
    """Return the folder of its libraries."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    name = f"{_AWSCLI.replace('==', '-')}-{version}"
    return made(name, lambda target: pip_install(target, "the AWS command line", _AWSCLI))


def awscli(folder: Path) -> None:
    """Put a program ``aws`` into a folder. It is always PyPI's: that of Debian 12 knows no AWS_ENDPOINT_URL."""
    program = folder / "aws"
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH='{installed()}' exec '{sys.executable}' -m awscli \"$@\"\n", encoding="utf-8"
    )
    program.chmod(0o755)
