"""`kvorum-server [FILE] [--directive value ...]`: start one node, with the arguments of valkey-server."""

import gc
import random
import sys
import time

import structlog
import trio

from cluster.configfile import load_argv
from cluster.logs import set_up
from cluster.options import OptionError
from node.lifecycle import StartError, build_engine, open_listeners
from node.replication.manager import Replicator
from node.server import serve
from node.settings import new_settings


def main() -> None:
    """Run the node; exits with 1 and a message when it can't start."""
    settings = new_settings()
    try:
        load_argv(settings.options, sys.argv[1:], sys.stdin.buffer.read)
        settings.refresh()
        set_up("node", level=settings.options.string("loglevel"))
        engine = build_engine(settings, int(time.time() * 1000), random.Random())
        sockets = open_listeners(engine)
    except (OptionError, StartError) as error:
        print(f"kvorum-server: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    structlog.get_logger().info("ready to accept connections", port=settings.port, tls_port=settings.tls_port)
    # What was loaded lives as long as the process, and stored values form no cycles: the collector would only cost.
    gc.collect()
    gc.freeze()
    gc.disable()
    trio.run(serve, engine, Replicator(engine))
    for sock in sockets:
        sock.close()


if __name__ == "__main__":
    main()
