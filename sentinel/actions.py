"""What deciders ask for, done over the probes' connections."""

from __future__ import annotations

from typing import Final

from cluster.link import LinkError, ReplyError, Request
from sentinel.probes import NodeProbe
from sentinel.state import Address

# As a genuine sentinel does it: one transaction, after which no client still talks to the node in its old role.
_AFTER: Final[tuple[Request, ...]] = (
    ("CONFIG", "REWRITE"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "KILL", "TYPE", "pubsub"),
)


async def promote(probe: NodeProbe) -> bool:
    """Make a replica the primary. True once it has answered that it is."""
    return await _replicate(probe, "NO", "ONE")


async def follow(probe: NodeProbe, primary: Address) -> bool:
    """Make a node a replica of `primary`."""
    return await _replicate(probe, primary.host, str(primary.port))


async def _replicate(probe: NodeProbe, host: str, port: str) -> bool:
    try:
        answer = await probe.transact([("SLAVEOF", host, port), *_AFTER])
    except LinkError:
        return False
    # EXEC gives a list whose first entry is the answer to SLAVEOF; the others may fail (a node without a file to
    # rewrite).
    first = answer[0] if isinstance(answer, list) and answer else answer
    return not isinstance(first, ReplyError) and first is not None
