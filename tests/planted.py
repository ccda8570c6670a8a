# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user may put into a folder: of their own, where root works; and of anybody's, where the command is called."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: the tasks' user; no account is needed
USER = 12345

KINDS = ("link to a folder", "link to a file", "dangling link", "hard link", "FIFO", "device")

#: as the user, swaps a folder for a link and back, as fast as it can
_SWAPPER = """
import os, sys, time
path, victim = sys.argv[1:]
print("ready", flush=True)
while True:
    try:
        os.rename(path, path + ".aside")
    except OSError:
        pass
    try:
        os.symlink(victim, path)
        time.sleep(0.0003)
        os.unlink(path)
        os.rename(path + ".aside", path)
        time.sleep(0.0003)
    except OSError:
        pass
"""


def state(place: Path) -> list[tuple[object, ...]]:
    """Return what there is below a folder: kinds, modes, owners, contents, and when each folder was last changed."""
    found = []
    for path in (place, *sorted(place.rglob("*"))):
        status = path.lstat()
        content = path.read_text() if path.is_file() else ""
        found.append((str(path), status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content))
    return found


@contextlib.contextmanager
def unharmed(victim: Path, *names: str) -> Iterator[None]:
    """Make a folder of root's, with files of these names; nothing of it may change."""
    victim.mkdir(mode=0o700)
    for name in ("secret", *names):
        (victim / name).write_text("root's\n")
        (victim / name).chmod(0o600)
    before = state(victim)
    yield
    assert state(victim) == before


def put(kind: str, path: Path, victim: Path) -> None:
    """Do what the user may do; root's own hand only makes what the kernel may deny to others."""
    if kind == "link to a folder":
        path.symlink_to(victim)
    elif kind == "link to a file":
        path.symlink_to(victim / "secret")
    elif kind == "dangling link":
        path.symlink_to(victim / "made")
    elif kind == "hard link":
        os.link(victim / "secret", path)
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    if kind != "hard link":
        os.chown(path, USER, USER, follow_symlinks=False)


@contextlib.contextmanager
def swapping(path: Path, victim: Path) -> Iterator[None]:
    """Have the user swap a folder for a link to ``victim`` and back, all the time."""
    argv = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", sys.executable, "-c", _SWAPPER]
    for above in path.parents:
        if above.stat().st_uid == 0 and above.is_relative_to("/tmp/pytest-of-root"):
            above.chmod(above.stat().st_mode | 0o011)
    with subprocess.Popen([*argv, str(path), str(victim)], stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            swapper.kill()


# -- in a directory that the command is called in ---------------------------------------------------------------------

MODULE = "raise SystemExit('planted')\n"
PROGRAM = "#!/bin/sh\necho planted >&2\nexit 99\n"
CONFIG = 'action="push"\ndbms="files"\ndatabase="/etc"\nstoragebackend="directory"\nurl="/tmp/planted"\n'
SCRIPT = "#!/bin/sh\ntouch /tmp/planted\n"
CLIENT = "[client]\nhost=planted.invalid\nuser=planted\npassword=planted\n"

#: what may lie in a directory that the command is called in: names, and what is in them
TRAPS = {
    # what Python would import
    **dict.fromkeys(
        (
            *("_engine/__init__.py", "_engine/__main__.py", "_engine/command/main.py", "_engine/host/reboot_lock.py"),
            *("start.py", "main.py", "command/__init__.py", "host/__init__.py", "tasks/__init__.py"),
            *("argparse.py", "json.py", "os.py", "sitecustomize.py", "usercustomize.py", "encodings/__init__.py"),
            *("psycopg2.py", "pymysql.py", "pymongo.py", "boto3.py", "urllib3.py", "zstandard.py"),
        ),
        MODULE,
    ),
    "pyvenv.cfg": "home = /planted\n",
    # what an empty entry of PATH finds
    **dict.fromkeys(
        (
            *("pg_dump", "pg_restore", "psql", "mysqldump", "mariadb-dump", "mysql", "mariadb", "mongodump", "mongosh"),
            *("mongorestore", "tar", "zstd", "gzip", "ssh", "rsync", "sh", "python3", "send_nsca", "systemd-inhibit"),
        ),
        PROGRAM,
    ),
    # what tools read
    **dict.fromkeys(("my.cnf", ".my.cnf", ".mylogin.cnf", "conf.d/my.cnf"), CLIENT),
    **dict.fromkeys((".pgpass", "pgpass.conf"), "*:*:*:*:planted\n"),
    **dict.fromkeys(("pg_service.conf", ".pg_service.conf"), "[planted]\nhost=planted.invalid\n"),
    **dict.fromkeys((".psqlrc", "psqlrc"), "\\! touch /tmp/planted\n"),
    **dict.fromkeys((".mongoshrc.js", ".mongorc.js", "node_modules/planted/index.js"), "quit(99)\n"),
    **dict.fromkeys(("package.json", "mongosh.conf", "mongo.yaml", "script.js"), "{}\n"),
    **dict.fromkeys((".aws/config", ".aws/credentials", "boto.cfg", ".boto"), "[default]\nregion = planted\n"),
    **dict.fromkeys((".netrc", ".ssh/config", "known_hosts", "openssl.cnf", "send_nsca.cfg"), "planted\n"),
    # what is called like something of ours
    **dict.fromkeys(("push_tree", "push_tree.cfg", "push_roots", "push_roots.cfg", "plan", "govuk_env_sync"), CONFIG),
    **dict.fromkeys(("tidy.sh", "transformation_sql/tidy.sh", "users.sql", "transformation_sql/users.sql"), SCRIPT),
    **dict.fromkeys(("policy.cfg", "monitoring.conf"), 'monitor="planted"\nprotected="true"\n'),
    **dict.fromkeys(("env.d/PGPASSWORD", "env.d/PATH"), "planted\n"),
    **dict.fromkeys(("journal/planted.json", "status/planted.json", "govuk_env_sync.log", "restore.list"), "{}\n"),
}


def plant(folder: Path) -> Path:
    """Fill a folder with traps; anybody may read and write them."""
    for name, text in TRAPS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
        path.chmod(0o755)
    for path in (folder, *folder.rglob("*/")):
        path.chmod(0o777)
    return folder
