"""The field lists of SENTINEL MASTER, REPLICAS and SENTINELS, and INFO's sentinel section: names and order as genuine.

Clients read them by name, some by place. Times in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from sentinel.quorum import ANSWER_VALID
from sentinel.state import Failover, Health, Node, Peer, Role, Shard, Stage

Fields = list[tuple[str, str]]


def primary_fields(shard: Shard, now: float) -> Fields:
    """SENTINEL MASTER, and an entry of MASTERS."""
    node = shard.primary_node
    fields = _head(shard.name, node, primary_flags(shard), node.info.run_id if node.info else "")
    if shard.failover is not None:
        fields.append(("failover-state", shard.failover.stage.value))
    fields += _pings(node.health, now)
    fields += _since("s-down-time", node.down_since, now)
    fields += _since("o-down-time", shard.odown_since, now)
    fields += [("down-after-milliseconds", _ms(shard.rules.down_after)), *_told(node, Role.PRIMARY, now)]
    return [
        *fields,
        ("config-epoch", str(shard.config_epoch)),
        ("num-slaves", str(len(shard.replicas))),
        ("num-other-sentinels", str(len(shard.peers))),
        ("quorum", str(shard.rules.quorum)),
        ("failover-timeout", _ms(shard.rules.failover_timeout)),
        ("parallel-syncs", str(shard.rules.parallel_syncs)),
    ]


def replica_fields(shard: Shard, node: Node, now: float) -> Fields:
    """An entry of SENTINEL REPLICAS."""
    info = node.info
    flags = _flags(node.down_since is not None, ["slave"], node.health, _of_failover(shard.failover, node))
    fields = _head(str(node.address), node, flags, info.run_id if info else "")
    fields += _pings(node.health, now)
    fields += _since("s-down-time", node.down_since, now)
    fields += [("down-after-milliseconds", _ms(shard.rules.down_after)), *_told(node, Role.REPLICA, now)]
    followed = info.primary if info else None
    down_for = info.link_down_for if info else 0.0
    return [
        *fields,
        ("master-link-down-time", _ms(down_for) if down_for != float("inf") else "-1"),
        ("master-link-status", "ok" if info and info.link_up else "err"),
        ("master-host", followed.host if followed else "?"),
        ("master-port", str(followed.port) if followed else "0"),
        ("slave-priority", str(info.priority if info else 100)),
        ("slave-repl-offset", str(info.offset if info else 0)),
        ("replica-announced", "1" if info is None or info.announced else "0"),
    ]


def peer_fields(shard: Shard, peer: Peer, now: float) -> Fields:
    """An entry of SENTINEL SENTINELS."""
    says_down = peer.says_down and now - peer.answered_at < ANSWER_VALID
    flags = _flags(peer.down_since is not None, ["sentinel"], peer.health, ["master_down"] if says_down else [])
    fields: Fields = [
        ("name", peer.id),
        ("ip", peer.address.host),
        ("port", str(peer.address.port)),
        ("runid", peer.id),
        ("flags", flags),
        ("link-pending-commands", str(peer.health.pings_due)),
        ("link-refcount", "1"),
        *_pings(peer.health, now),
        *_since("s-down-time", peer.down_since, now),
        ("down-after-milliseconds", _ms(shard.rules.down_after)),
        ("last-hello-message", _ms(now - peer.hello_at)),
        ("voted-leader", "?" if peer.vote == "*" else peer.vote),
        ("voted-leader-epoch", str(peer.vote_epoch)),
    ]
    return fields


def info_section(shards: Iterable[Shard]) -> str:
    """The lines of `INFO sentinel` after its title."""
    watched = list(shards)
    lines = [f"sentinel_masters:{len(watched)}", "sentinel_tilt:0", "sentinel_tilt_since_seconds:-1"]
    lines += ["sentinel_total_tilt:0", "sentinel_running_scripts:0", "sentinel_scripts_queue_length:0"]
    lines.append("sentinel_simulate_failure_flags:0")
    for number, shard in enumerate(watched):
        down = shard.primary_node.down_since is not None
        status = "odown" if shard.odown_since is not None else "sdown" if down else "ok"
        counts = f"slaves={len(shard.replicas)},sentinels={len(shard.peers) + 1}"
        lines.append(f"master{number}:name={shard.name},status={status},address={shard.primary},{counts}")
    return "".join(f"{line}\r\n" for line in lines)


def primary_flags(shard: Shard) -> str:
    """The flags of a shard's primary."""
    node = shard.primary_node
    after = [] if shard.failover is None else ["failover_in_progress"]
    if shard.failover is not None and shard.failover.forced:
        after.append("force_failover")
    words = ["o_down", "master"] if shard.odown_since is not None else ["master"]
    return _flags(node.down_since is not None, words, node.health, after)


def _head(name: str, node: Node, flags: str, run_id: str) -> Fields:
    host, port = node.address
    return [
        ("name", name),
        ("ip", host),
        ("port", str(port)),
        ("runid", run_id),
        ("flags", flags),
        ("link-pending-commands", str(node.health.pings_due)),
        ("link-refcount", "1"),
    ]


def _pings(health: Health, now: float) -> Fields:
    pending = 0.0 if health.silent_since is None else now - health.silent_since
    return [
        ("last-ping-sent", _ms(pending)),
        ("last-ok-ping-reply", _ms(now - health.last_pong)),
        ("last-ping-reply", _ms(now - health.last_reply)),
    ]


def _told(node: Node, expected: Role, now: float) -> Fields:
    role = node.info.role if node.info else expected
    return [
        ("info-refresh", _ms(now - node.info_at) if node.info else "0"),
        ("role-reported", role.value),
        ("role-reported-time", _ms(now - node.role_at)),
    ]


def _since(name: str, since: float | None, now: float) -> Fields:
    return [] if since is None else [(name, _ms(now - since))]


def _of_failover(failover: Failover | None, node: Node) -> list[str]:
    if failover is None:
        return []
    promoted = failover.stage in (Stage.PROMOTE, Stage.CONFIRM) and failover.candidate == node.address
    return (["promoted"] if promoted else []) + ([node.reconf.value] if node.reconf.value else [])


def _flags(down: bool, words: list[str], health: Health, after: list[str]) -> str:
    disconnected = [] if health.connected else ["disconnected"]
    return ",".join([*(["s_down"] if down else []), *words, *disconnected, *after])


def _ms(seconds: float) -> str:
    return str(max(int(seconds * 1000), 0))
