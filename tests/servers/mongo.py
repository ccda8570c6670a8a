# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A throwaway server that speaks MongoDB's protocol (FerretDB on SQLite), mongosh, and the tools for dumps."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo

from tests.servers import Unavailable, cache_dir, free_port, go, install, made, node

_FERRETDB = "v1.24.2"
_MONGOSH = "2.12.0"

# FerretDB's own program wants files that only its release build makes; its package for embedding does not.
# FerretDB refuses an index's "ns", which mongorestore gives, and which MongoDB takes and ignores: what stands between
# the port and FerretDB's own socket takes it out, and is what speaks TLS. Nothing else is touched.
_MAIN = """package main

import (
    "bytes"
    "context"
    "crypto/tls"
    "encoding/binary"
    "flag"
    "io"
    "log"
    "log/slog"
    "net"
    "os"
    "os/signal"
    "syscall"

    "github.com/FerretDB/FerretDB/ferretdb"
    "github.com/FerretDB/wire/wirebson"
)

const (
    headerSize = 16
    body       = headerSize + 4 + 1 // after OP_MSG's flags and the kind of its first section
    opMsg      = 2013
)

func withoutNs(message []byte) []byte {
    command, err := wirebson.RawDocument(message[body:]).DecodeDeep()
    if err != nil || command.Command() != "createIndexes" {
        return message
    }
    indexes, ok := command.Get("indexes").(*wirebson.Array)
    if !ok {
        return message
    }
    for i := range indexes.Len() {
        if index, ok := indexes.Get(i).(*wirebson.Document); ok {
            index.Remove("ns")
        }
    }
    raw, err := command.Encode()
    if err != nil {
        return message
    }
    message = append(bytes.Clone(message[:body]), raw...)
    binary.LittleEndian.PutUint32(message, uint32(len(message)))
    return message
}

func forward(client, server net.Conn) {
    defer server.Close()
    header := make([]byte, headerSize)
    for {
        if _, err := io.ReadFull(client, header); err != nil {
            return
        }
        message := make([]byte, binary.LittleEndian.Uint32(header))
        copy(message, header)
        if _, err := io.ReadFull(client, message[headerSize:]); err != nil {
            return
        }
        if binary.LittleEndian.Uint32(header[12:]) == opMsg && bytes.Contains(message, []byte("createIndexes")) {
            message = withoutNs(message)
        }
        if _, err := server.Write(message); err != nil {
            return
        }
    }
}

func main() {
    config := ferretdb.Config{Handler: "sqlite"}
    config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
    address := flag.String("address", "", "")
    certificate := flag.String("cert", "", "")
    key := flag.String("key", "", "")
    flag.StringVar(&config.SQLiteURL, "data", "", "")
    flag.StringVar(&config.Listener.Unix, "socket", "", "")
    flag.Parse()
    listener, err := net.Listen("tcp", *address)
    if err != nil {
        log.Fatal(err)
    }
    if *certificate != "" {
        pair, err := tls.LoadX509KeyPair(*certificate, *key)
        if err != nil {
            log.Fatal(err)
        }
        listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})
    }
    server, err := ferretdb.New(&config)
    if err != nil {
        log.Fatal(err)
    }
    ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
    defer stop()
    go func() {
        for {
            client, err := listener.Accept()
            if err != nil {
                log.Fatal(err)
            }
            server, err := net.Dial("unix", config.Listener.Unix)
            if err != nil {
                client.Close()
                continue
            }
            go forward(client, server)
            go func() {
                defer client.Close()
                io.Copy(client, server)
            }()
        }
    }()
    if err := server.Run(ctx); err != nil && ctx.Err() == nil {
        log.Fatal(err)
    }
}
"""

_MODULE = f"module env_sync_tests/ferretdb\n\ngo 1.22\n\nrequire github.com/FerretDB/FerretDB {_FERRETDB}\n"
#: of the binary that is made: another program must not be taken for it
_MADE = f"ferretdb-{_FERRETDB}-{hashlib.sha256((_MAIN + _MODULE).encode()).hexdigest()[:8]}"


def _build_ferretdb(folder: Path) -> None:
    source = folder / "source"
    source.mkdir()
    (source / "main.go").write_text(_MAIN, encoding="utf-8")
    (source / "go.mod").write_text(_MODULE, encoding="utf-8")
    keeps = {"GOPATH": str(folder / "modules"), "GOCACHE": str(folder / "objects")}
    settings = {"GOFLAGS": "-mod=mod -modcacherw", "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", **keeps}
    install("FerretDB", (str(go() / "go"), "build", "-o", str(folder / "ferretdb"), "."), source, **settings)
    for path in keeps.values():
        shutil.rmtree(path)


def ferretdb() -> Path:
    """Return the server's program."""
    return made(_MADE, _build_ferretdb) / "ferretdb"


def mongosh() -> Path:
    """Return the folder of MongoDB's shell: from the PATH, or installed from npm."""
    found = shutil.which("mongosh")
    if found:
        return Path(found).parent

    def fetch(folder: Path) -> None:
        programs = node()
        npm = (str(programs / "node"), str(programs.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))
        # Its optional parts (Kerberos, client-side encryption) download binaries of their own.
        options = ("--no-audit", "--no-fund", "--no-update-notifier", "--omit=optional", "--ignore-scripts")
        own = ("--prefix", str(folder), "--cache", str(folder / "npm"))
        path = f"{programs}:{os.environ['PATH']}"
        install("mongosh", (*npm, "install", *options, *own, f"mongosh@{_MONGOSH}"), folder, PATH=path)
        shutil.rmtree(folder / "npm")
        launcher = folder / "bin" / "mongosh"
        launcher.parent.mkdir()
        launcher.write_text(
            '#!/bin/sh\nhere=$(dirname "$0")/..\n'
            f'exec "$here/../{programs.relative_to(cache_dir())}/node" '
            '"$here/node_modules/mongosh/bin/mongosh.js" "$@"\n',
            encoding="utf-8",
        )
        launcher.chmod(0o755)

    return made(f"mongosh-{_MONGOSH}", fetch) / "bin"


@dataclass(frozen=True)
class Tools:
    """Where ``mongodump`` and ``mongorestore`` are, and whether they are MongoDB's own or stand-ins."""

    folder: Path
    real: bool


def tools(folder: Path) -> Tools:
    """Return MongoDB's own tools, from ``ENV_SYNC_TEST_MONGO_TOOLS`` or the PATH; otherwise make stand-ins in folder.

    The Go module proxy does not serve github.com/mongodb/mongo-tools, and Debian 12 has no package of it.
    """
    named = os.environ.get("ENV_SYNC_TEST_MONGO_TOOLS")
    found = shutil.which("mongodump", path=named) if named else shutil.which("mongodump")
    if found:
        return Tools(Path(found).parent, real=True)
    root = Path(__file__).resolve().parents[2]
    for program in ("mongodump", "mongorestore"):
        launcher = folder / program
        argv = f"'{sys.executable}' -m tests.servers.mongo_stand_in {program}"
        launcher.write_text(f"#!/bin/sh\nPYTHONPATH='{root}' exec {argv} \"$@\"\n", encoding="utf-8")
        launcher.chmod(0o755)
    return Tools(folder, real=False)


class MongoServer:
    """One server with data of its own on loopback; a context manager.

    :param certificate: certificate and key (PEM files) to speak TLS with; None: plain TCP.
    """

    host = "127.0.0.1"

    def __init__(self, name: str, certificate: tuple[Path, Path] | None = None) -> None:
        self._name = name
        self._certificate = certificate
        self.port = free_port()
        self._client: Any = None

    def __enter__(self) -> MongoServer:
        binary = ferretdb()
        self._folder = Path(tempfile.mkdtemp(prefix=f"env_sync-mongo-{self._name}-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        argv = [str(binary), "-data", f"file:{self._folder}/", "-socket", str(self._folder / "socket")]
        argv += ["-address", f"{self.host}:{self.port}"]
        if self._certificate:
            certificate, key = self._certificate
            argv += ["-cert", str(certificate), "-key", str(key)]
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self._stop)
        options: dict[str, Any] = {"directConnection": True, "serverSelectionTimeoutMS": 15000}
        if self._certificate:
            options.update(tls=True, tlsCAFile=str(self._certificate[0]))
        self._client = pymongo.MongoClient(self.host, self.port, **options)
        try:
            self._client.admin.command("hello")
        except pymongo.errors.PyMongoError as error:
            said = (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-500:]
            self._stop()
            raise Unavailable(f"FerretDB does not start: {error}: {said}") from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 5
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self, name: str) -> Any:
        """Return the database as pymongo has it."""
        return self._client[name]

    def contents(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """Return every collection's documents, in order of their ``_id``, by the collection's name."""
        database = self._client[name]
        return {
            collection: list(database[collection].find().sort("_id", 1))
            for collection in sorted(database.list_collection_names())
        }

    def drop_database(self, name: str) -> None:
        self._client.drop_database(name)
