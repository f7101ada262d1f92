"""What a sentinel learns from others and from the nodes: peers, replicas, newer configurations, nodes that stray.
Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sentinel.events import Action, Emit, Follow, Hello, InfoCame, SayHello, Switched, TopologyCame
from sentinel.failover import Step, move, switch
from sentinel.health import INFO_PERIOD
from sentinel.quorum import see_epoch
from sentinel.state import (
    Address,
    Health,
    Node,
    Peer,
    Role,
    Shard,
    describe,
    describe_peer,
    with_node,
    with_peer,
)

HELLO_PERIOD: Final = 1.0
MAX_PEERS: Final = 256
MAX_NODES: Final = 1024
# How long a node may contradict the configuration before it is corrected: long enough for the hello of a newer
# configuration to have come, if there is one. The former primary is the usual case, and may be taking writes.
CORRECT_FORMER: Final = HELLO_PERIOD
CORRECT_OTHERS: Final = 4 * HELLO_PERIOD
CORRECT_AGAIN: Final = 2.0


def hello_came(shard: Shard, hello: Hello, now: float) -> tuple[Shard, list[Action]]:
    """A hello from another sentinel: know it, and take its configuration when that is newer."""
    if hello.id == shard.me:
        return shard, []
    shard, actions = _know_peer(shard, hello, now)
    shard, more = see_epoch(shard, hello.seen_epoch)
    actions += more
    if hello.config_epoch > shard.config_epoch:
        peer = shard.peers.get(hello.id)
        source = describe_peer(shard, peer) if peer is not None else f"sentinel {hello.id}"
        shard, more = adopt(shard, hello.primary, hello.config_epoch, source, now)
        actions += more
    elif hello.config_epoch == shard.config_epoch and hello.primary != shard.primary and hello.config_epoch > 0:
        text = f"{describe(shard, shard.primary)} {hello.id} says {hello.primary} at epoch {hello.config_epoch}"
        actions.append(Emit("-config-conflict", text))
    return shard, actions


def adopt(shard: Shard, primary: Address, epoch: int, source: str, now: float) -> tuple[Shard, list[Action]]:
    """Take a configuration that is newer than ours; whatever failover was in progress here is overtaken."""
    assert epoch > shard.config_epoch
    if shard.failover is not None:
        shard = move(shard, Step.SUPERSEDED, now)
    shard, actions = see_epoch(shard, epoch)
    if primary == shard.primary:
        return replace(shard, config_epoch=epoch), [*actions, Switched(primary, epoch)]
    actions.append(Emit("+config-update-from", source))
    shard, more = switch(shard, primary, epoch, now)
    return shard, [*actions, *more, SayHello(), Switched(primary, epoch)]


def _know_peer(shard: Shard, hello: Hello, now: float) -> tuple[Shard, list[Action]]:
    known = shard.peers.get(hello.id)
    if known is not None and known.address == hello.address:
        return with_peer(shard, replace(known, hello_at=now)), []
    actions: list[Action] = []
    for other in tuple(shard.peers.values()):  # an address has one owner: the one who spoke last
        if other.address == hello.address and other.id != hello.id:
            actions.append(Emit("+sentinel-invalid-addr", describe_peer(shard, other)))
            shard = replace(shard, peers={i: p for i, p in shard.peers.items() if i != other.id})
    if known is not None:
        moved = f"{describe(shard, shard.primary)} ip {hello.address.host} port {hello.address.port} for {hello.id}"
        actions.append(Emit("+sentinel-address-switch", moved))
        return with_peer(shard, replace(known, address=hello.address, hello_at=now)), actions
    if len(shard.peers) >= MAX_PEERS:
        return shard, actions
    health = Health(last_pong=now, last_reply=now, silent_since=now)
    peer = Peer(id=hello.id, address=hello.address, health=health, hello_at=now)
    actions.append(Emit("+sentinel", describe_peer(shard, peer)))
    return with_peer(shard, peer), actions


def info_came(shard: Shard, event: InfoCame, now: float) -> tuple[Shard, list[Action]]:
    """A node's INFO: renew what is known of it, find new replicas, and correct a node that strays."""
    node = shard.nodes.get(event.address)
    if node is None or event.asked_at < node.info_at:
        return shard, []
    shard, actions = _renew(shard, node, event, now)
    if event.address == shard.primary:
        for address in event.info.replicas:
            if address not in shard.nodes and len(shard.nodes) < MAX_NODES:
                shard = add_node(shard, address, now)
                actions.append(Emit("+slave", describe(shard, address)))
    shard, more = _correct(shard, shard.nodes[event.address], now)
    return shard, actions + more


def add_node(shard: Shard, address: Address, now: float) -> Shard:
    """The shard with one more node, of which nothing is known yet."""
    health = Health(last_pong=now, last_reply=now, silent_since=now)
    return with_node(shard, Node(address=address, health=health, role_at=now))


def _renew(shard: Shard, node: Node, event: InfoCame, now: float) -> tuple[Shard, list[Action]]:
    info = event.info
    actions: list[Action] = []
    about = describe(shard, node.address)
    before = node.info
    if before is not None and before.run_id and info.run_id and before.run_id != info.run_id:
        actions.append(Emit("+reboot", about))
    role_at = node.role_at
    if before is None or before.role is not info.role:
        role_at = now
        expected = Role.PRIMARY if node.address == shard.primary else Role.REPLICA
        if before is not None:
            event_name = "+role-change" if info.role is not expected else "-role-change"
            actions.append(Emit(event_name, f"{about} new reported role is {info.role.value}"))
    linked = node.linked
    if info.link_up and info.primary == shard.primary and info.replids:
        linked = info.replids[0]
    demoted = node.demoted and not (info.link_up and info.primary == shard.primary)
    renewed = replace(node, info=info, info_at=event.asked_at, role_at=role_at, linked=linked, demoted=demoted)
    return with_node(shard, renewed), actions


def _correct(shard: Shard, node: Node, now: float) -> tuple[Shard, list[Action]]:
    """A replica by the configuration that says otherwise, or follows another, is told to follow the primary."""
    info = node.info
    if info is None or node.address == shard.primary or shard.failover is not None:
        return shard, []
    if info.role is Role.REPLICA and info.primary == shard.primary:
        return shard, []
    patience = CORRECT_FORMER if node.demoted else CORRECT_OTHERS
    since = max(node.role_at, shard.switched_at)
    if now - since < patience or now - node.corrected_at < CORRECT_AGAIN or not _is_sane(shard, now):
        return shard, []
    name = "+convert-to-slave" if info.role is Role.PRIMARY else "+fix-slave-config"
    shard = with_node(shard, replace(node, corrected_at=now))
    return shard, [Emit(name, describe(shard, node.address)), Follow(node.address, shard.primary)]


def _is_sane(shard: Shard, now: float) -> bool:
    """The primary serves, says that it is one, and has said so lately."""
    primary = shard.primary_node
    if primary.down_since is not None or primary.info is None or primary.health.silent_since is not None:
        return False
    return primary.info.role is Role.PRIMARY and now - primary.info_at < 3 * INFO_PERIOD


def topology_came(shard: Shard, event: TopologyCame, now: float) -> tuple[Shard, list[Action]]:
    """The agent's word: members to watch, and a configuration when its epoch is newer."""
    actions: list[Action] = []
    for address in event.members:
        if address not in shard.nodes and len(shard.nodes) < MAX_NODES:
            shard = add_node(shard, address, now)
            if address != shard.primary:
                actions.append(Emit("+slave", describe(shard, address)))
    if event.epoch > shard.config_epoch:
        shard, more = adopt(shard, event.primary, event.epoch, f"topology epoch {event.epoch}", now)
        actions += more
    if event.epoch == shard.config_epoch:  # a node whose address has changed is no member under the old one
        kept = {a: n for a, n in shard.nodes.items() if a in event.members or a == shard.primary}
        shard = replace(shard, nodes=kept)
    return shard, actions
