"""From a blueprint to processes, ports, configuration files and the first topology."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.agent import identity, layout
from cluster.agent.home import Home
from cluster.agent.identity import Identity, IdentityError, allocate
from cluster.blueprint import Blueprint, default_blueprint, parse
from cluster.tls import Certificates
from cluster.topology import Topology, check, from_json, with_primary

HOME = Home(Path("/data"))
CERTIFICATES = Certificates(Path("/data/tls/ca.crt"), Path("/data/tls/server.crt"), Path("/data/tls/server.key"))
SERVICE = "services:\n- type: keyvalue\n  name: cache\n  ipAllowList: []\n"


def secrets() -> Callable[[int], str]:
    """Secrets that count."""
    numbers = itertools.count(1)
    return lambda digits: f"{next(numbers):0{digits}x}"


def free(*taken: int) -> Callable[[int], bool]:
    """Every port is free but those taken."""
    return lambda port: port not in taken


def topologies(blueprint: Blueprint, found: Identity) -> dict[str, Topology]:
    """The first topologies."""
    return {s.name: layout.topology_of(s, found.service(s.name), None) for s in blueprint.services}


def deploy(blueprint: Blueprint) -> layout.Deployment:
    """Everything of a first run."""
    found = allocate(blueprint, Identity(), secrets(), free())
    addresses = ("127.0.0.1", "::1")
    return layout.lay_out(blueprint, found, topologies(blueprint, found), HOME, CERTIFICATES, addresses)


def config(deployment: layout.Deployment, name: str) -> list[str]:
    """The lines of a process' configuration."""
    process = next(one for one in deployment.processes if one.name == name)
    return process.files[process.config.name].decode().splitlines()


def blueprint(*lines: str) -> Blueprint:
    """A blueprint of one service with these lines."""
    return parse((SERVICE + "".join(f"  {line}\n" for line in lines)).encode(), "b")


def test_the_default_is_ten_processes() -> None:
    """Three shards of two nodes, three sentinels, one proxy."""
    found = deploy(default_blueprint())

    assert [process.name for process in found.processes] == [
        *("cache-0-1", "cache-0-2", "cache-1-1", "cache-1-2", "cache-2-1", "cache-2-2"),
        *("sentinel-1", "sentinel-2", "sentinel-3"),
        "cache-proxy",
    ]
    (end,) = found.endpoints
    assert (end.internal_url, end.external_port) == ("redis://localhost:6379", 6380)
    assert end.external_url == f"rediss://default:{end.password}@localhost:6380"


def test_the_first_topology_is_sound() -> None:
    """All slots are owned, epochs are 1, and the node's copy is the agent's."""
    found = deploy(default_blueprint())

    topology = found.topologies["cache"]
    check(topology)
    assert [(s.name, s.epoch, s.slots) for s in topology.shards] == [
        ("cache-0", 1, ((0, 5460),)),
        ("cache-1", 1, ((5461, 10922),)),
        ("cache-2", 1, ((10923, 16383),)),
    ]
    assert all(from_json(p.files["nodes.conf"]) == topology for p in found.of_kind("node"))


def test_the_files_of_a_node() -> None:
    """The plan's share of memory, its clients, the policy, and cluster mode for several shards."""
    lines = config(deploy(default_blueprint()), "cache-1-2")

    assert lines[0] == "port 7003"
    assert {"bind 127.0.0.1", "dir /data/nodes/cache-1-2", "service-name cache", "cluster-enabled yes"} <= set(lines)
    assert {"maxmemory 357913941", "maxmemory-policy allkeys-lru", "maxclients 1032"} <= set(lines)
    assert "cluster-enabled no" in config(deploy(blueprint()), "cache-0-1")


def test_the_files_of_a_sentinel() -> None:
    """It knows each shard's primary, replicas and its peers, with a majority as quorum."""
    lines = config(deploy(default_blueprint()), "sentinel-2")

    assert lines[:2] == ["port 26380", "bind 127.0.0.1"]
    assert "topology-file /data/topology/cache.json" in lines
    assert "sentinel monitor cache-1 127.0.0.1 7002 2" in lines
    assert "sentinel known-replica cache-1 127.0.0.1 7003" in lines
    peers = [line.split()[3:6] for line in lines if line.startswith("sentinel known-sentinel cache-0")]
    assert [(host, port) for host, port, *_ in peers] == [("127.0.0.1", "26379"), ("127.0.0.1", "26381")]


def test_the_files_of_a_proxy() -> None:
    """Both endpoints, the allowlist with its descriptions, and every sentinel."""
    lines = config(deploy(default_blueprint()), "cache-proxy")

    assert {"service cache", "port 6379", "tls-port 6380", "bind 127.0.0.1 ::1", "tls-bind 127.0.0.1 ::1"} <= set(lines)
    assert {'allow 127.0.0.1/32 "this machine"', 'allow ::1/128 "this machine"', "maxclients 1000"} <= set(lines)
    assert [line for line in lines if line.startswith("sentinel")] == [
        f"sentinel 127.0.0.1 {port}" for port in (26379, 26380, 26381)
    ]


def test_the_external_endpoint_is_closed_without_an_allowlist() -> None:
    """Neither a port nor a URL."""
    found = deploy(blueprint())

    assert found.endpoints[0].external_url is None
    assert not [line for line in config(found, "cache-proxy") if line.startswith("tls")]


def test_the_external_endpoint_is_open_to_others_only_when_they_are_allowed() -> None:
    """A network beyond this machine makes it listen on every address; the internal one never does."""
    text = SERVICE.replace("[]", "[{source: 203.0.113.0/24}]")
    lines = config(deploy(parse(text.encode(), "b")), "cache-proxy")

    assert {"bind 127.0.0.1 ::1", "tls-bind * -::"} <= set(lines)


def test_secrets_are_neither_in_arguments_nor_in_the_text_form() -> None:
    """The password is in the proxy's file and nowhere else."""
    found = deploy(default_blueprint())
    password = found.endpoints[0].password

    assert password not in repr(found)
    holders = {p.name for p in found.processes for data in p.files.values() if password.encode() in data}
    assert holders == {"cache-proxy"}


def test_ports_of_several_services_go_in_pairs() -> None:
    """A port that is given is not given again."""
    two = parse(
        (
            SERVICE.replace("[]", "[{source: 127.0.0.1}]")
            + "  port: 6381\n- {type: keyvalue, name: jobs, ipAllowList: [{source: 127.0.0.1}]}\n"
            + "- {type: keyvalue, name: web, ipAllowList: []}\n"
        ).encode(),
        "b",
    )

    ends = layout.endpoints(two, Identity())
    assert [(end.port, end.external_port) for end in ends] == [(6381, 6380), (6379, 6382), (6383, 0)]


def test_identity_is_kept_over_runs() -> None:
    """Ids, ports and passwords of the first run hold, whatever the order of the ports would be today."""
    first = allocate(default_blueprint(), Identity(), secrets(), free())

    assert allocate(default_blueprint(), first, lambda digits: "f" * digits, free()) == first
    assert identity.from_json(identity.to_json(first)) == first


def test_a_taken_port_is_replaced_and_told_by_a_new_epoch() -> None:
    """An address is only an attribute: the node keeps its id, and its shard's record becomes newer."""
    plan = default_blueprint()
    first = allocate(plan, Identity(), secrets(), free())
    old = topologies(plan, first)["cache"]
    second = allocate(plan, first, secrets(), free(7000))
    new = layout.topology_of(plan.services[0], second.service("cache"), old)

    assert [node.id for node in new.nodes] == [node.id for node in old.nodes]
    assert [node.port for node in old.nodes] == [7000, 7001, 7002, 7003, 7004, 7005]
    assert [node.port for node in new.nodes] == [7006, 7001, 7002, 7003, 7004, 7005]
    assert new.shards[0].epoch == 2
    check(new)


def test_new_ports_are_sought_where_asked() -> None:
    """Nodes and sentinels of a first run follow each other from the given port."""
    found = allocate(blueprint(), Identity(), secrets(), free(9001), 9000)

    assert [node.port for node in found.services[0].nodes] == [9000, 9002]
    assert [sentinel.port for sentinel in found.sentinels] == [9003, 9004, 9005]


def test_the_last_topology_is_taken_up_again() -> None:
    """Whoever led when the agent stopped leads when it starts."""
    plan = default_blueprint()
    found = allocate(plan, Identity(), secrets(), free())
    first = topologies(plan, found)["cache"]
    led = with_primary(first, "cache-1", first.shards[1].replicas[0], 7)

    assert layout.topology_of(plan.services[0], found.service("cache"), led) == led


@pytest.mark.parametrize(("replicas", "members"), [(0, [1]), (1, [1, 0]), (2, [1, 0, 2])])
def test_more_or_fewer_replicas(replicas: int, members: list[int]) -> None:
    """The primary stays, replicas come and go, and the record is newer when they do."""
    plan = blueprint("replicas: 1")
    first = allocate(plan, Identity(), secrets(), free())
    ids = [node.id for node in first.services[0].nodes]
    led = with_primary(topologies(plan, first)["cache"], "cache-0", ids[1], 5)
    changed = blueprint(f"replicas: {replicas}")
    found = allocate(changed, first, lambda digits: "f" * digits, free())
    new = layout.topology_of(changed.services[0], found.service("cache"), led)

    assert new.shards[0].members() == tuple([*ids, "f" * 40][index] for index in members)
    assert new.shards[0].epoch == (5 if replicas == 1 else 6)
    check(new)


def test_an_address_never_changes_hands() -> None:
    """A port that a node ever had is given to no other node: a sentinel may still take it for the former one."""
    plan = blueprint("replicas: 2")
    first = allocate(plan, Identity(), secrets(), free())
    fewer = allocate(blueprint("replicas: 0"), first, secrets(), free())
    moved = allocate(plan, fewer, secrets(), free(7000))
    added = parse((SERVICE + "- {type: keyvalue, name: jobs, ipAllowList: []}\n").encode(), "b")
    last = allocate(added, moved, secrets(), free())

    assert [node.port for node in moved.services[0].nodes] == [7003, 7001, 7002]
    assert [node.port for node in last.services[1].nodes] == [7004, 7005]


def test_fewer_sentinels_know_only_each_other() -> None:
    """Those that are no longer declared keep their ids for later, but nobody counts them."""
    five = parse(("sentinels: 5\n" + SERVICE).encode(), "b")
    found = allocate(blueprint(), allocate(five, Identity(), secrets(), free()), secrets(), free())
    deployment = layout.lay_out(blueprint(), found, topologies(blueprint(), found), HOME, CERTIFICATES, ("127.0.0.1",))

    assert len(found.sentinels) == 5
    assert len(deployment.of_kind("sentinel")) == 3
    assert sum("known-sentinel" in line for line in config(deployment, "sentinel-1")) == 2
    assert "sentinel monitor cache-0 127.0.0.1 7000 2" in config(deployment, "sentinel-1")


def test_another_number_of_shards_is_refused() -> None:
    """Keys would lie in the wrong shard; the message says what to do."""
    found = allocate(blueprint("shards: 3"), Identity(), secrets(), free())

    with pytest.raises(IdentityError, match=r"'cache' has 3 shards here, but the blueprint says 5.*Keep 'shards: 3'"):
        allocate(blueprint("shards: 5"), found, secrets(), free())


@pytest.mark.parametrize("data", [b"", b"{", b'{"version": 2}', b'{"services": 3}', b"\xff"])
def test_a_damaged_state_file(data: bytes) -> None:
    """It is told, never overwritten by new ids."""
    with pytest.raises(IdentityError, match=r"state file"):
        identity.from_json(data)


def test_a_service_that_is_not_declared_is_remembered() -> None:
    """Its ids and its password come back with it."""
    both = parse((SERVICE + "- {type: keyvalue, name: jobs, ipAllowList: []}\n").encode(), "b")
    first = allocate(both, Identity(), secrets(), free())
    second = allocate(blueprint(), first, secrets(), free())

    assert second.service("jobs") == first.service("jobs")
    assert replace(both, services=both.services[:1]) == blueprint()
