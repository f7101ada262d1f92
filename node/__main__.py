"""`kvorum-server [FILE] [--directive value ...]`: start one node, with the arguments of valkey-server."""

import gc
import os
import random
import sys
import time
from pathlib import Path

import structlog
import trio

from cluster.configfile import load_argv
from cluster.logs import set_up
from cluster.options import OptionError
from node.lifecycle import StartError, build_engine, open_listeners
from node.replication.manager import Replicator
from node.server import serve
from node.settings import Settings, new_settings


def main() -> None:
    """Run the node; exits with 1 and a message when it can't start."""
    settings = new_settings()
    try:
        load_argv(settings.options, sys.argv[1:], sys.stdin.buffer.read)
        settings.refresh()
        _redirect_output(settings)
        set_up("node", level=settings.options.string("loglevel"))
        engine = build_engine(settings, int(time.time() * 1000), random.Random())
        sockets = open_listeners(engine)
    except (OptionError, StartError) as error:
        print(f"kvorum-server: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    pid_file = _write_pid(settings)
    # What was loaded lives as long as the process, and stored values form no cycles: the collector would only cost.
    gc.collect()
    gc.freeze()
    gc.disable()
    failure = trio.run(serve, engine, Replicator(engine))
    for sock in sockets:
        sock.close()
    if pid_file is not None:
        pid_file.unlink(missing_ok=True)
    if failure:
        print(f"kvorum-server: {failure}", file=sys.stderr)
        raise SystemExit(1)


def _redirect_output(settings: Settings) -> None:
    """With `logfile` everything that is said goes to the end of that file (in `dir`). Raises OptionError."""
    name = settings.options.string("logfile")
    if not name:
        return
    try:
        descriptor = os.open(Path(settings.directory) / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    except OSError as error:
        raise OptionError(f"can't open the log file {name}: {error.strerror}") from None
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)


def _write_pid(settings: Settings) -> Path | None:
    """Write `pidfile`; a place where that is not possible is no reason not to serve."""
    name = settings.options.string("pidfile")
    if not name:
        return None
    path = Path(settings.directory) / name
    try:
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        structlog.get_logger().warning("can't write the pid file", path=str(path), reason=error.strerror)
        return None
    return path


if __name__ == "__main__":
    main()
