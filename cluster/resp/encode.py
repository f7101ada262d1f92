"""Requests, encoded: what we send when we are the client."""

from collections.abc import Iterable


def encode_request(args: Iterable[bytes]) -> bytes:
    """The multibulk form of one command."""
    parts: list[bytes] = [b""]
    count = 0
    for arg in args:
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
        count += 1
    parts[0] = b"*%d\r\n" % count
    return b"".join(parts)
