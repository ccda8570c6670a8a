# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Throwaway hosts: each with its own name, address, files and processes, reached over SSH.

No container engine is needed: a root filesystem of Debian packages (made once, by mmdebstrap), an overlay over it for
each host, a network namespace with an address of its own, namespaces for processes and mounts. Needs root on Linux. The
addresses are on a bridge of this machine only; nothing of it is routed. By choice, a host's first process is systemd.

``python -m tests.servers.hosts up FILE NAME...`` starts hosts that stay, and writes an inventory of them into FILE;
``down FILE`` takes them away. ``packages`` prints what is installed on them.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.servers import Unavailable, install, made

#: what a database host has before the role comes; the role's own packages are there too, so that it need not be online
PACKAGES = (
    "ca-certificates",
    "cron",
    "daemontools",
    "dbus",
    "icinga2",
    "iproute2",
    "logrotate",
    "memcached",
    "nsca",
    "nsca-client",
    "openssh-server",
    "polkitd",
    "postgresql",
    "procps",
    "python3",
    "python3-apt",
    "python3-boto3",
    "python3-psycopg2",
    "python3-venv",
    "python3-zstandard",
    "sudo",
    "swift-account",
    "swift-container",
    "swift-object",
    "swift-proxy",
    "systemd",
    "unattended-upgrades",
    "util-linux",
    "zstd",
)
SUITE = "bookworm"

#: what a host of another Debian has: what the role needs for a task on PostgreSQL, and a server
FEW_PACKAGES = (
    "cron",
    "iproute2",
    "logrotate",
    "openssh-server",
    "postgresql",
    "procps",
    "python3",
    "python3-apt",
    "python3-psycopg2",
    "util-linux",
    "zstd",
)

#: what newer ones than Debian 11 have, too
NEWER_PACKAGES = (*FEW_PACKAGES, "python3-zstandard")

#: runs as the first process of a host: mounts, network, sshd and cron; ends everything by ending
_INIT = """
set -e
mount --make-rprivate /
mount -t overlay overlay -o lowerdir="$BASE",upperdir="$FOLDER/upper",workdir="$FOLDER/work" "$FOLDER/root"
mount -t proc proc "$FOLDER/root/proc"
mount -t tmpfs tmpfs "$FOLDER/root/run"
mount -t tmpfs tmpfs "$FOLDER/root/dev"
mkdir "$FOLDER/root/dev/shm" "$FOLDER/root/dev/pts" "$FOLDER/root/run/sshd" "$FOLDER/root/run/lock"
chmod 1777 "$FOLDER/root/dev/shm" "$FOLDER/root/run/lock"
mkdir "$FOLDER/root/run/postgresql" "$FOLDER/root/run/nagios"
chmod 1777 "$FOLDER/root/run/postgresql"
mount -t devpts devpts "$FOLDER/root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$FOLDER/root/dev/ptmx"
ln -s /proc/self/fd "$FOLDER/root/dev/fd"
for device in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "$FOLDER/root/dev/${device%:*}" c 1 "${device#*:}"
done
mknod -m 666 "$FOLDER/root/dev/tty" c 5 0
hostname "$NAME"
cp "$FOLDER/hosts" "$FOLDER/root/etc/hosts"
echo "$NAME" > "$FOLDER/root/etc/hostname"
mkdir -p "$FOLDER/root/root/.ssh"
cp "$FOLDER/key.pub" "$FOLDER/root/root/.ssh/authorized_keys"
chmod -R go= "$FOLDER/root/root/.ssh"
if [ -z "$CGROUP" ]; then
  exec chroot "$FOLDER/root" /bin/sh -c '/usr/sbin/cron; exec /usr/sbin/sshd -D -e -o UseDNS=no -o UsePAM=no'
fi
mount -t sysfs sysfs "$FOLDER/root/sys"
mount -t cgroup2 cgroup2 "$FOLDER/root/sys/fs/cgroup"
cat > "$FOLDER/root/etc/systemd/system/throwaway.target" <<END
[Unit]
Description=What a throwaway host runs, rather than all that is installed on it
Requires=basic.target
After=basic.target
Wants=ssh.service cron.service dbus.service systemd-logind.service
END
exec chroot "$FOLDER/root" /usr/bin/env -i container=throwaway PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=throwaway.target
"""

#: what starts the rest in a cgroup, which a new namespace then has for its root
_ENTER = 'if [ "$CGROUP" ]; then mkdir "$CGROUP" && echo $$ > "$CGROUP/cgroup.procs"; fi && exec "$@"'

#: where cgroups of version 2 are, which a systemd needs a part of for itself
_CGROUPS = re.compile(r"^\S+ (\S+) cgroup2 ", re.M)


class Host:
    """One running host of a :class:`Network`. ``address`` is an IPv4 address; ``root`` its files, as seen from here."""

    def __init__(self, network: Network, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.folder = network.folder / name
        self.root = self.folder / "root"
        self._network = network
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the host; it answers when this returns."""
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        shutil.copy(self._network.key.with_suffix(".pub"), self.folder / "key.pub")
        (self.folder / "hosts").write_text(self._network.hosts_file(), encoding="ascii")
        cgroup = str(self._network.cgroup(self.name)) if self.name in self._network.with_systemd else ""
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _ENTER, "sh", "ip", "netns", "exec", self._network.namespace(self.name),
             "unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc",
             *(["--cgroup"] if cgroup else []), "/bin/sh", "-c", _INIT],
            env={"PATH": os.environ["PATH"], "BASE": str(self._network.bases[self.name]), "FOLDER": str(self.folder),
                 "NAME": self.name, "CGROUP": cgroup},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(self.folder / "log").open("wb"),
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 90
        while self.ssh("true", check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "log").read_text(errors="replace")[-500:]
                raise Unavailable(f"the host {self.name} does not start: {said}")
            time.sleep(0.1)

    def reap(self) -> None:
        """Take note that the host has ended, where it was started by this process."""
        if self._process is not None:
            self._process.wait()
            self._process = None

    def ssh(self, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host as root."""
        done = subprocess.run(
            ["ssh", *self._network.ssh_options, f"root@{self.address}", command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def put(self, source: Path, folder: str) -> None:
        """Copy a file, or a directory with all that is in it, into a folder of the host."""
        run("scp", "-q", "-r", *self._network.ssh_options, str(source), f"root@{self.address}:{folder}")


class Network:
    """Hosts on a network of their own; a context manager that leaves nothing behind.

    Links, namespaces and cgroups take their names from the network's folder, by which :func:`remove` finds them.

    :param with_systemd: the names of those hosts whose first process is systemd.
    :param suites: what Debian a host has, where that is not ``SUITE``; there it has few packages.
    """

    def __init__(
        self, *names: str, with_systemd: Collection[str] = (), suites: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.with_systemd = with_systemd
        self.bases = {
            name: base_filesystem(suites[name], few_packages(suites[name])) if name in suites else base_filesystem()
            for name in names
        }
        self.folder = Path(tempfile.mkdtemp(prefix="env_sync-hosts-"))
        self.key = self.folder / "key"
        self._name = _name(self.folder)
        self._subnet = _free_subnet()
        self.hosts = {name: Host(self, name, f"{self._subnet}.{10 + n}") for n, name in enumerate(names)}
        self.ssh_options = [
            "-i", str(self.key), "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no",
            "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30",
        ]  # fmt: skip

    def __enter__(self) -> Network:
        atexit.register(self.stop)
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def namespace(self, name: str) -> str:
        return f"{self._name}-{name}"

    def cgroup(self, name: str) -> Path:
        return _cgroups() / self.namespace(name)

    def hosts_file(self) -> str:
        """Return what every host's /etc/hosts says."""
        lines = ["127.0.0.1 localhost", *(f"{host.address} {host.name}" for host in self.hosts.values())]
        return "\n".join(lines) + "\n"

    def inventory(self) -> dict[str, dict[str, str]]:
        """Return the variables with which Ansible reaches the hosts."""
        options = " ".join(self.ssh_options)
        return {
            host.name: {
                "ansible_host": host.address,
                "ansible_user": "root",
                "ansible_ssh_common_args": options,
                # In the network's folder, and not under an address that another network may have in a minute.
                "ansible_ssh_args": f"-o ControlMaster=auto -o ControlPersist=60s -o ControlPath={self.folder}/ssh-%h",
                "ansible_python_interpreter": "/usr/bin/python3",
            }
            for host in self.hosts.values()
        }

    def start(self) -> Network:
        """Start all hosts; where one does not start, nothing is left."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        run("ip", "link", "add", self._name, "type", "bridge")
        run("ip", "addr", "add", f"{self._subnet}.1/24", "dev", self._name)
        run("ip", "link", "set", self._name, "up")
        for number, host in enumerate(self.hosts.values()):
            namespace, link = self.namespace(host.name), f"{self._name}v{number}"
            run("ip", "netns", "add", namespace)
            run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            run("ip", "link", "set", link, "master", self._name, "up")
            run("ip", "-n", namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            run("ip", "-n", namespace, "link", "set", "eth0", "up")
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        for host in self.hosts.values():
            host.start()

    def stop(self) -> None:
        """Stop all hosts, and take the network and all files away; safe to call twice."""
        remove(self.folder)
        for host in self.hosts.values():
            host.reap()
        atexit.unregister(self.stop)


def remove(folder: Path) -> None:
    """End the hosts of the network in ``folder``, whoever started them, and take the network and all files away."""
    name = _name(folder)
    for connection in folder.glob("ssh-*"):
        _said("ssh", "-o", f"ControlPath={connection}", "-O", "exit", "host")
    for line in _said("ip", "netns", "list").splitlines():
        namespace = line.split()[0]
        if namespace.startswith(f"{name}-"):
            deadline = time.monotonic() + 10
            while (pids := _said("ip", "netns", "pids", namespace).split()) and time.monotonic() < deadline:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                time.sleep(0.02)
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL, check=False)
    for cgroup in _cgroups_of(name):
        # From the innermost; a process that was killed may take a moment to be gone.
        for inner in sorted([cgroup, *cgroup.glob("**/")], key=lambda path: len(path.parts), reverse=True):
            _remove_cgroup(inner)
    shutil.rmtree(folder, ignore_errors=True)


def left_of(folder: Path) -> list[str]:
    """Return what there still is of the network in ``folder``: files, links, namespaces, command lines of processes."""
    name = _name(folder)
    left = [str(folder)] if folder.exists() else []
    left += [line for line in _said("ip", "-oneline", "link").splitlines() if name in line]
    left += [line for line in _said("ip", "netns", "list").splitlines() if name in line]
    left += map(str, _cgroups_of(name))
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            left += [f"{process.parent.name} {command}"] if str(folder) in command else []
    return left


def _cgroups() -> Path:
    """Return where cgroups of version 2 are."""
    found = _CGROUPS.search(Path("/proc/mounts").read_text(encoding="utf-8"))
    if found is None:
        raise Unavailable("there are no cgroups of version 2, which systemd needs")
    return Path(found[1])


def _cgroups_of(name: str) -> list[Path]:
    with contextlib.suppress(Unavailable):
        return list(_cgroups().glob(f"{name}-*"))
    return []


def _remove_cgroup(path: Path) -> None:
    deadline = time.monotonic() + 10
    while path.exists():
        try:
            path.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)


def _name(folder: Path) -> str:
    """Return the name of the network in ``folder``: the bridge's; those of links and namespaces begin with it."""
    return f"es{folder.name[-8:]}"


def _free_subnet() -> str:
    """Return the first three numbers of addresses that nothing on this machine has."""
    taken = _said("ip", "-oneline", "-4", "address")
    return random.choice([net for n in range(1, 255) if f" {(net := f'10.213.{n}')}." not in taken])


def _said(*command: str) -> str:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


def run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")


def few_packages(suite: str) -> tuple[str, ...]:
    return FEW_PACKAGES if suite == "bullseye" else NEWER_PACKAGES


def base_filesystem(suite: str = SUITE, packages: Sequence[str] = PACKAGES) -> Path:
    """Return the root filesystem that all hosts of a Debian share; made when it is first needed (a minute)."""
    if os.geteuid() != 0:
        raise Unavailable("hosts of one's own need root")

    def make(folder: Path) -> None:
        options = [
            "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
            # The packages start nothing, and make no cluster: a host's own tests do.
            "--essential-hook=mkdir -p $1/etc/postgresql-common",
            "--essential-hook=echo create_main_cluster=false > $1/etc/postgresql-common/createcluster.conf",
        ]  # fmt: skip
        where = [suite, str(folder / "root"), *_mirror(suite)]
        install(f"a root filesystem of Debian {suite}", ["mmdebstrap", *options, *where], Path("/"))

    return made(f"root-{suite}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:8]}", make) / "root"


def _mirror(suite: str) -> list[str]:
    """Return where packages come from: from where this machine has its own, if it says so in the usual place."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    if not sources.exists():
        return []
    text = sources.read_text(encoding="utf-8")
    if re.search(rf"^Suites:.*\b{suite}\b", text, re.M):
        return [str(sources)]
    found = re.search(r"^URIs: *(\S+)", text, re.M)
    return [found[1]] if found else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start hosts that stay")
    up.add_argument("file", type=Path, help="where an Ansible inventory of them is written (JSON)")
    up.add_argument("names", nargs="+", metavar="NAME")
    down = commands.add_parser("down", help="take hosts away")
    down.add_argument("file", type=Path, help="what `up` wrote; it is removed too")
    commands.add_parser("packages", help="print the Debian packages that hosts have")
    options = parser.parse_args()
    if options.command == "packages":
        print(" ".join(PACKAGES))
    elif options.command == "up":
        try:
            _up(options.file, options.names)
        except Unavailable as error:
            sys.exit(str(error))
    elif options.file.exists():
        remove(folder_of(options.file))
        options.file.unlink()


def folder_of(file: Path) -> Path:
    """Return the folder of the network whose inventory is in ``file``."""
    return Path(json.loads(file.read_text(encoding="utf-8"))["all"]["vars"]["hosts_folder"])


def _up(file: Path, names: list[str]) -> None:
    network = Network(*names)
    inventory = {"all": {"hosts": network.inventory(), "vars": {"hosts_folder": str(network.folder)}}}
    # First of all, so that whoever is interrupted in the middle can still take away what there is.
    file.write_text(json.dumps(inventory, indent=2) + "\n", encoding="utf-8")
    network.start()


if __name__ == "__main__":
    main()
