# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import (
    format_config,
    read_config,
    read_envdir,
)

#: as the documentation of the original shows it
ORIGINAL = """\
action="pull"
dbms="postgresql"
storagebackend="s3"
temppath="/tmp/content_data_admin_production_pull"
database="content_data_admin_production"
url="govuk-production-database-backups"
path="postgresql-backend"
"""

AWKWARD = [
    "", " ", " leading and trailing ", "it's", 'say "hi"', "back\\slash", "\\", "\\\\n", "cost: $5", "$HOME", "${x}",
    "$(date)", "`date`", "a#b", "# no comment", "a;b|c&d<e>(f)", "*", "~", "~/x", "!", "tab\there", "Zürich, 東京",
    "end\\", "$", "a$", "\r", "'\"'\"", "a=b",
]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "task.cfg"


def sourced(config: Path, key: str) -> str:
    """Return what a shell takes the key for."""
    script = f'set -eu; . "$1"; printf %s "${key}"'
    done = subprocess.run(["sh", "-c", script, "sh", str(config)], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def test_a_file_of_the_original(config: Path) -> None:
    config.write_text(ORIGINAL, encoding="utf-8")
    assert read_config(str(config)) == {
        "action": "pull",
        "dbms": "postgresql",
        "storagebackend": "s3",
        "temppath": "/tmp/content_data_admin_production_pull",
        "database": "content_data_admin_production",
        "url": "govuk-production-database-backups",
        "path": "postgresql-backend",
    }


def test_what_is_written_is_read_again(config: Path) -> None:
    values = {f"key{number}": value for number, value in enumerate(AWKWARD)}
    config.write_bytes(format_config(values).encode())
    assert read_config(str(config)) == values


def test_a_shell_reads_what_is_written(config: Path) -> None:
    values = {f"key{number}": value for number, value in enumerate(AWKWARD)}
    config.write_bytes(format_config(values).encode())
    script = '. "$1"; ' + "".join(f'printf "%s\\0" "${key}"; ' for key in values)
    done = subprocess.run(["sh", "-c", script, "sh", str(config)], stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().split("\0")[:-1] == AWKWARD


@pytest.mark.parametrize(
    "line",
    [
        "key=value",
        "key='value'",
        "export key=value",
        "export\tkey=value",
        "  key=value  # a comment",
        "key=a#b",
        "key='$HOME `date` \\n'",
        'key="a\\$b\\`c\\"d\\\\e\\f"',
        "key='a'\"b\"c\\ d",
        'key="costs 5$"',
        'key="a $ b"',
        "key=a\\#b",
        "key=",
        "key=   # nothing",
        "key=trailing\\ ",
        "key=a=b",
        "key=*",
        "key=a~b",
        "key='first'\nkey='last'",
        "# key=no\n\n \t\nkey=yes",
    ],
)
def test_a_line_means_what_it_means_to_a_shell(config: Path, line: str) -> None:
    config.write_text(line + "\n", encoding="utf-8")
    assert read_config(str(config)) == {"key": sourced(config, "key")}


def test_line_ends_and_the_mark_of_other_systems(config: Path) -> None:
    config.write_bytes(b'\xef\xbb\xbfaction="push"\r\n\r\n# comment\r\ndatabase=x\r\nurl="y"')
    assert read_config(str(config)) == {"action": "push", "database": "x", "url": "y"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('password="$(cat /etc/shadow)"', "would expand the $"),
        ('password="`id`"', "would expand the `"),
        ("password=`id`", "would expand the `"),
        ('password="$HOME"', "would expand the $"),
        ('password="${HOME}"', "would expand the $"),
        ("password=$HOME", "would expand the $"),
        ("password=$'a'", "would expand the $"),
        ("password=~/x", "would expand the ~"),
        ("password=a:~/x", "would expand the ~"),
        ("password=a; rm -rf /", "would not take ;"),
        ("password=a b", "more than one value for password"),
        ('password="open', 'a " is not closed'),
        ("password='open", "a ' is not closed"),
        ("password=a\\", "go on in the next line"),
        ("rm -rf /", "no assignment"),
        ("password = x", "no assignment"),
        ("2nd=x", "no assignment"),
        (". /etc/profile", "no assignment"),
        ("password=a\0b", "NUL"),
    ],
)
def test_what_a_shell_would_expand_or_run_is_refused_with_its_line(config: Path, line: str, why: str) -> None:
    config.write_text(f'action="push"\n\n{line}\n', encoding="utf-8")
    with pytest.raises(EnvSyncError) as caught:
        read_config(str(config))
    assert f"{config}, line 3: " in str(caught.value)
    assert why in str(caught.value)
    assert "shadow" not in str(caught.value) and "HOME" not in str(caught.value)


def test_nothing_in_a_file_is_ever_executed(config: Path, tmp_path: Path) -> None:
    config.write_text(f"x='$(touch {tmp_path}/one)'\ny=\"\\$(touch {tmp_path}/two)\"\n", encoding="utf-8")
    assert read_config(str(config)) == {"x": f"$(touch {tmp_path}/one)", "y": f"$(touch {tmp_path}/two)"}
    assert sorted(os.listdir(tmp_path)) == ["task.cfg"]


def test_files_that_are_none(tmp_path: Path, config: Path) -> None:
    for path, why in ((tmp_path / "missing.cfg", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(EnvSyncError, match=why):
            read_config(str(path))
    config.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EnvSyncError, match="not UTF-8"):
        read_config(str(config))


@pytest.mark.parametrize(
    ("key", "value"), [("key", "two\nlines"), ("key", "a\0b"), ("a-b", "x"), ("a b", "x"), ("", "x")]
)
def test_what_no_line_can_hold_is_not_written(key: str, value: str) -> None:
    with pytest.raises(EnvSyncError, match="writing a config file"):
        format_config({key: value})


def test_an_environment_directory(tmp_path: Path) -> None:
    for name, content in {
        "PLAIN": b"value\n",
        "BLANKS": b"  value \t\n",
        "LINES": b"first\nsecond\n",
        "NUL": b"first\0second",
        "EMPTY": b"",
        "BLANK": b"\n",
        ".hidden": b"x",
    }.items():
        (tmp_path / name).write_bytes(content)
    assert read_envdir(str(tmp_path)) == {
        "PLAIN": "value",
        "BLANKS": "  value",
        "LINES": "first",
        "NUL": "first\nsecond",
        "EMPTY": None,
        "BLANK": "",
    }


def test_an_environment_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(EnvSyncError, match="No such file"):
        read_envdir(str(tmp_path / "missing"))
    (tmp_path / "A=B").write_bytes(b"x")
    with pytest.raises(EnvSyncError, match="in the name A=B"):
        read_envdir(str(tmp_path))
