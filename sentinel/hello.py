"""Hello messages: `ip,port,runid,current_epoch,master_name,master_ip,master_port,master_config_epoch`. Pure."""

from __future__ import annotations

import re
from typing import Final

from sentinel.events import Hello
from sentinel.state import Address, Shard

CHANNEL: Final = "__sentinel__:hello"
MAX_HELLO: Final = 2048
MAX_EPOCH: Final = 2**62  # far above any count of failovers, and safe to add to in 64 bits


def write_hello(shard: Shard, me: Address) -> str:
    """What this sentinel, reachable at `me`, says of a shard."""
    fields = (me.host, me.port, shard.me, shard.seen_epoch, shard.name, *shard.primary, shard.config_epoch)
    return ",".join(str(f) for f in fields)


def read_hello(data: bytes) -> Hello | None:
    """The message, or None for anything malformed."""
    if len(data) > MAX_HELLO:
        return None
    parts = data.decode("utf-8", "replace").split(",")
    if len(parts) != 8 or not re.fullmatch(r"[0-9a-f]{40}", parts[2]):
        return None
    numbers = [_number(parts[i]) for i in (1, 3, 6, 7)]
    port, epoch, primary_port, config_epoch = numbers
    if min(numbers) < 0 or not 0 < port < 65536 or not 0 < primary_port < 65536 or not parts[0] or not parts[5]:
        return None
    return Hello(
        address=Address(parts[0], port),
        id=parts[2],
        seen_epoch=epoch,
        name=parts[4],
        primary=Address(parts[5], primary_port),
        config_epoch=config_epoch,
    )


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) and int(text) < MAX_EPOCH else -1
