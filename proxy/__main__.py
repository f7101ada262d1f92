"""`kvorum-proxy FILE`: start one proxy. `[FILE] [--directive value ...]`, the syntax of valkey.conf."""

from __future__ import annotations

import sys

import trio

from cluster.configfile import ConfigFileError, load_argv
from cluster.logs import set_up
from cluster.options import OptionError, Options
from proxy.server import Proxy, StartError
from proxy.settings import ROWS, read_settings


def main() -> None:
    """Run the proxy; exits with 1 and a message when it cannot start."""
    options = Options(ROWS)
    try:
        load_argv(options, sys.argv[1:], sys.stdin.buffer.read)
        settings = read_settings(options)
        set_up(f"proxy-{settings.service}", level=settings.log_level)
        proxy = Proxy(settings)
        proxy.open()
    except (ConfigFileError, OptionError, StartError) as error:
        print(f"kvorum-proxy: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    trio.run(proxy.run)


if __name__ == "__main__":
    main()
