# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a JavaScript with ``mongosh`` against the proxy, and have a mark written when all of it is over.

``mongosh`` loads three files: what prepares its global scope, the script as it is, and the end. A script that leaves
(``quit()``) or fails never comes to the end. The end waits until nothing that the script began is under way: no
command, no timer, no promise of its own, no file. What is still pending then will never end, and fails the script.
"""

from __future__ import annotations

import json
import os
import re
import uuid

from ...errors import EnvSyncError
from ...streams.pipeline import Group
from ..base import within
from .commands import Commands
from .names import END
from .programs import program
from .proxy import PENDING, Proxy

# Loaded by require(), so that mongosh leaves its code as it is; the script's own global scope is its argument.
_SETUP = r"""
"use strict";
module.exports = (scope) => {
  const database = scope.db, failures = [], tasks = new Set();
  let promises = 0;
  const failed = (error) => { failures.push(error); };
  process.on("unhandledRejection", failed);
  process.on("uncaughtException", failed);
  const define = (name, value) => Object.defineProperty(scope, name, { value, writable: false, configurable: false });
  const refuse = (name) => define(name, function () {
    const error = new TypeError(name + " reaches beyond the scratch collections");
    failed(error);
    throw error;
  });
  for (const name of ["connect", "Mongo", "load"]) refuse(name);

  const allowed = new Set(["assert", "buffer", "crypto", "events", "fs", "fs/promises", "os", "path", "perf_hooks",
    "querystring", "stream", "string_decoder", "timers", "timers/promises", "url", "util", "zlib"]);
  const load = scope.require;
  define("require", (name) => {
    if (allowed.has(String(name).replace(/^node:/, ""))) return load(name);
    const error = new TypeError("require of " + name + " reaches beyond the script");
    failed(error);
    throw error;
  });

  const guarded = (callback, done) => (...values) => {
    try {
      const result = callback(...values);
      if (result && typeof result.then === "function") result.then(undefined, failed);
    } catch (error) {
      failed(error);
    } finally {
      done();
    }
  };
  for (const [set, clear] of [["setTimeout", "clearTimeout"], ["setImmediate", "clearImmediate"]]) {
    const start = scope[set], stop = scope[clear];
    scope[set] = (callback, ...more) => {
      const task = start(guarded(callback, () => tasks.delete(task)), ...more);
      tasks.add(task);
      return task;
    };
    scope[clear] = (task) => { tasks.delete(task); return stop(task); };
  }
  const startInterval = scope.setInterval, stopInterval = scope.clearInterval, running = new Set();
  scope.setInterval = (callback, ...more) => {
    const task = startInterval(guarded(callback, () => {}), ...more);
    running.add(task);
    return task;
  };
  scope.clearInterval = (task) => { running.delete(task); return stopInterval(task); };
  const sleep = scope.sleep;
  scope.sleep = (...values) => {
    const result = sleep(...values), forget = () => tasks.delete(result);
    tasks.add(result);
    result.then(forget, forget);
    return result;
  };
  scope.Promise = new Proxy(scope.Promise, {
    construct(target, [executor], made) {
      let open = typeof executor === "function";
      if (!open) return Reflect.construct(target, [executor], made);
      promises += 1;
      const settle = (act) => (value) => {
        if (open) promises -= 1;
        open = false;
        act(value);
      };
      return Reflect.construct(target, [(resolve, reject) => {
        try {
          return executor(settle(resolve), settle(reject));
        } catch (error) {
          settle(reject)(error);
        }
      }], made === scope.Promise ? target : made);
    },
  });

  const wait = globalThis.setTimeout;
  const pause = (time) => new Promise((resolve) => wait(resolve, time));
  const others = () => (process.getActiveResourcesInfo ? process.getActiveResourcesInfo() : [])
    .filter((name) => /^(FS|Process|Worker|Zlib|DNS|GetAddr)/.test(name)).length;
  const before = others();
  // Says whether anything was under way since the last look.
  const looking = () => {
    let begun = -1;
    return async () => {
      const state = await database.runCommand({ %(pending)s: 1 });
      const moving = state.begun !== begun || state.running > 0 || tasks.size > 0 || others() > before;
      begun = state.begun;
      return moving;
    };
  };
  let over = false;
  const exit = process.exit.bind(process);
  (async () => {
    const moving = looking();
    for (let idle = 0; idle < 40; ) {
      await pause(250);
      if (over) return;
      idle = await moving() ? 0 : idle + 1;
    }
    const what = running.size ? "an interval" : "a promise that is never resolved";
    process.stderr.write("TypeError: the script waits for what never ends: " + what + "\n", () => exit(1));
  })().catch(failed);
  const end = async (token) => {
    const moving = looking();
    for (let calm = 0; calm < 3 && !failures.length; ) {
      await pause(10);
      calm = await moving() || promises || running.size ? 0 : calm + 1;
    }
    over = true;
    if (failures.length) throw failures[0];
    await database.getCollection(%(mark)s).insertOne({ _id: token });
  };
  // mongosh waits for promises that look like its own.
  define("env_sync_end", (token) =>
    Object.assign(end(token), { [Symbol.for("@@mongosh.syntheticPromise")]: true }));
};
"""

#: kinds of errors whose text is of the script, not of the data
_OF_THE_SCRIPT = re.compile(r"\b(?:ReferenceError|SyntaxError|MongoshInvalidInputError|TypeError)\b[^\n]*")
_KIND = re.compile(r"\b(Mongo\w*Error|Error)\b")
_CODE = re.compile(r"\b(E\d{3,5})\b")


def run_javascript(text: str, commands: Commands, group: Group, work_dir: str | None) -> None:
    """Run a script; return when it has come to its end, and all that it began is over.

    :param text: the script.
    :param commands: runs, in scope, what the script asks of the server.
    :param work_dir: an empty directory of this run's own.
    :raises EnvSyncError: it did not; names the kind of error, and no value of any document.
    """
    doing = commands.doing
    mongosh = program("mongosh", doing)
    token = uuid.uuid4().hex
    folder = within(work_dir, f"mongosh-{token[:8]}")
    os.mkdir(folder, 0o700)
    setup = os.path.join(folder, "setup.cjs")
    files = {
        "setup.cjs": _SETUP % {"pending": PENDING, "mark": json.dumps(END)},
        "begin.js": f"require({json.dumps(setup)})(globalThis)\n",
        "script.js": text,
        "end.js": f"env_sync_end({json.dumps(token)})\n",
        # A job that runs at night reports to nobody.
        ".mongodb/mongosh/config": '{"enableTelemetry": false}\n',
    }
    for name, content in files.items():
        os.makedirs(os.path.dirname(os.path.join(folder, name)), mode=0o700, exist_ok=True)
        with open(os.path.join(folder, name), "x", encoding="utf-8") as stream:
            stream.write(content)
    with Proxy(commands, folder, END) as proxy:
        argv = [mongosh, proxy.uri, "--quiet", "--norc"]
        for name in ("begin.js", "script.js", "end.js"):
            argv += ["--file", os.path.join(folder, name)]
        # mongosh keeps its settings and logs in HOME, which a backup user may lack.
        stage = group.run(argv, doing, env={"HOME": folder}, cwd=folder, checked=False)
        stage.join()
    if proxy.error is not None:
        raise proxy.error
    if proxy.refusals:
        raise EnvSyncError(doing, f"env_sync refuses {proxy.refusals[0]}", "Correct the script.")
    if stage.popen.returncode != 0:
        raise EnvSyncError(doing, _describe(stage.stderr_text), "Correct the script.")
    if commands.failures:
        why = f"{commands.failures[0]} (its text is withheld, as it may quote data), and the script went on"
        raise EnvSyncError(doing, why, "Correct the script: what could not be written may not be sanitised.")
    if not _marked(commands, token):
        why = "it ended before its last line (quit, exit, process.exit), or its end was not written"
        raise EnvSyncError(doing, why, "Have it run to its last line; return from a function to leave early.")


def _marked(commands: Commands, token: str) -> bool:
    """Say whether the mark is there, on a connection that the script had no part in; remove it."""
    server, database, doing, mark = commands.server, commands.database, commands.doing, commands.scope.real(END)
    found = server.command(database, {"find": mark, "filter": {"_id": token}}, doing)["cursor"]["firstBatch"]
    if mark in server.collections(database, doing):
        server.command(database, {"drop": mark}, doing)
    return bool(found)


def _describe(stderr: str) -> str:
    """Return what of mongosh's complaint may be repeated: its text only where it is about the script."""
    of_the_script = _OF_THE_SCRIPT.search(stderr)
    if of_the_script:
        return of_the_script.group()[:300]
    kind, code = _KIND.search(stderr), _CODE.search(stderr)
    words = [match.group(1) for match in (kind, code) if match]
    return f"mongosh: {' '.join(words) or 'it failed'} (its text is withheld, as it may quote data)"
