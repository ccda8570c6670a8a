# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the collection's playbooks, as an operator does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

#: a playbook has so many seconds: on a machine that does much else, each of its tasks may take long
TIMEOUT = 600

_SETTINGS = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1", "ANSIBLE_HOST_KEY_CHECKING": "0"}


def play(
    folder: Path,
    inventory: Mapping[str, Any],
    playbook: str,
    *arguments: str,
    ok: bool = True,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run a playbook; return what it said.

    :param folder: where the inventory is written to.
    :param inventory: as Ansible takes it in JSON.
    :param ok: whether it should succeed.
    :param environment: settings of Ansible's.
    """
    path = folder / "inventory.json"
    path.write_text(json.dumps(inventory), encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(path), playbook, *arguments],
        env={**os.environ, **_SETTINGS, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert (done.returncode == 0) is ok, done.stdout[-6000:]
    return done.stdout


def changed(said: str) -> dict[str, int]:
    """Return how many tasks changed something, by host, from a playbook's recap, but for where it was called."""
    recap = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", said, re.M)
    return {host: int(count) for host, count in recap if host != "localhost"}
