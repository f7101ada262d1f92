"""Starts nodes within milliseconds: one process has everything imported and forks. Their files can be tampered with.

Run as a process, it reads requests (a JSON object a line) and answers each by one. In a forked node every step of the
file system below its folder (write, open, rename, unlink, fsync, fdatasync, ftruncate) goes through `Steps`: it may be
the last one, it may fail or be slow, and it may be recorded.
"""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

CALLS = ("write", "writev", "open", "rename", "unlink", "fsync", "fdatasync", "ftruncate")


class Steps:
    """What stands between a node and its files."""

    def __init__(self, folder: str, kill_at: int, faults: str, record: str) -> None:
        self.folder = folder
        self.kill_at = kill_at  # number of the step at which the process is killed, from 1; 0: never
        self.faults = Path(faults) if faults else None
        self.record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if record else -1
        self.number = 0
        self.met: Counter[str] = Counter()  # how often each line of the faults has matched
        self._write = os.write
        for call in CALLS:
            setattr(os, call, self._around(call.removesuffix("v"), getattr(os, call)))

    def _around(self, call: str, genuine: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **more: object) -> object:
            name = self._name(args[0])
            counts = call != "open" or (len(args) > 1 and isinstance(args[1], int) and args[1] & os.O_CREAT)
            if name and counts:
                self._before(call, name, args)
            return genuine(*args, **more)

        return step

    def _name(self, what: object) -> str:
        """The path below the folder; empty for what is not there, and for the log."""
        try:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else os.fspath(what)  # type: ignore[call-overload]
        except OSError:
            return ""
        name = os.path.relpath(str(path), self.folder)
        return "" if name.startswith("..") or name in ("log", "faults") else name

    def _before(self, call: str, name: str, args: tuple[object, ...]) -> None:
        self.number += 1
        if self.record >= 0:
            target = f" {self._name(args[1])}" if call == "rename" else ""
            self._write(self.record, f"{call} {name}{target}\n".encode())
        if self.number == self.kill_at:
            if call == "write":
                data = b"".join(args[1]) if isinstance(args[1], tuple) else bytes(args[1])  # type: ignore[call-overload]
                self._write(args[0], data[: len(data) // 2])  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(10)  # from a thread the process may go on for a moment
        if self.faults is not None and self.faults.exists():
            self._fail(call, name, self.faults.read_text())

    def _fail(self, call: str, name: str, faults: str) -> None:
        for line in faults.splitlines():
            which, pattern, what, first = (*line.split(), "1")[:4]
            if which == call and fnmatch.fnmatch(name, pattern):
                self.met[line] += 1
                if self.met[line] < int(first):
                    continue
                if what.startswith("sleep:"):
                    time.sleep(float(what[6:]))
                else:
                    raise OSError(int(what), os.strerror(int(what)), name)


def become_node(request: dict[str, object]) -> None:
    """In the forked process: run a node until it ends."""
    folder = str(request["folder"])
    output = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    Steps(folder, int(str(request["kill_at"])), str(request["faults"]), str(request["record"]))
    sys.argv = ["node", *map(str, request["argv"])]  # type: ignore[call-overload]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def answer(request: dict[str, object]) -> dict[str, object]:
    """Do what is asked for."""
    if "argv" in request:
        pid = os.fork()
        if pid == 0:
            become_node(request)
        return {"pid": pid}
    pid = int(str(request["pid"]))
    if "signal" in request:
        os.kill(pid, int(str(request["signal"])))
        _, status = os.waitpid(pid, 0)
        return {"status": os.waitstatus_to_exitcode(status)}
    done, status = os.waitpid(pid, os.WNOHANG)
    return {"status": os.waitstatus_to_exitcode(status) if done else None}


if __name__ == "__main__":
    from node.__main__ import main

    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
