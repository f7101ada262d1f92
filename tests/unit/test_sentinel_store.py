"""The state file and the configuration: what survives, what is refused, and which of the two wins."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.configfile import ConfigFileError
from cluster.topology import Node, Topology, with_primary
from cluster.topology import Shard as ShardRecord
from sentinel import events
from sentinel.engine import Engine
from sentinel.settings import load, with_option
from sentinel.state import Address, Rules, durable, monitored
from sentinel.store import NAME, Me, ShardGone, ShardKept, Store, StoreError, TopologyKept, read

ME = "a" * 40
RULES = Rules(quorum=2)
KEPT = ShardKept(durable(monitored("cache-0", ME, RULES, Address("127.0.0.1", 7001), 0.0)), RULES)
IDS = [f"{n:040x}" for n in range(3)]
TOPOLOGY = Topology(
    "cache",
    (ShardRecord("cache-0", 1, IDS[0], (IDS[1], IDS[2]), ((0, 16383),)),),
    tuple(Node(id, "127.0.0.1", 7001 + n, "cache-0") for n, id in enumerate(IDS)),
)


def test_records_survive(tmp_path: Path) -> None:
    """What was appended is there after a restart, the last record of a name only."""
    store = Store(tmp_path)
    voted = replace(KEPT.state, leader=ME, leader_epoch=4, seen_epoch=4)
    for record in (Me(ME), KEPT, ShardKept(voted, RULES), TopologyKept(TOPOLOGY)):
        store.append(record)
    store.close()
    store = Store(tmp_path)
    assert store.kept.me == ME
    assert store.kept.shards == {"cache-0": ShardKept(voted, RULES)}
    assert store.kept.topologies == {"cache": TOPOLOGY}
    store.append(ShardGone("cache-0"))
    store.close()
    assert read(tmp_path / NAME).shards == {}


def test_a_torn_tail_is_dropped_at_every_length(tmp_path: Path) -> None:
    """A crash while a record was written loses that record, which nobody was told of, and no other."""
    store = Store(tmp_path)
    store.append(Me(ME))
    whole = store.path.stat().st_size
    store.append(KEPT)
    store.close()
    data = store.path.read_bytes()
    for length in range(whole, len(data)):
        store.path.write_bytes(data[:length])
        kept = read(store.path)
        assert (kept.me, kept.shards) == (ME, {})
    store.path.write_bytes(data)
    assert read(store.path).shards == {"cache-0": KEPT}


def test_a_damaged_record_stops_the_sentinel(tmp_path: Path) -> None:
    """A vote may have been lost: a sentinel with a hole in its memory must not vote."""
    store = Store(tmp_path)
    store.append(Me(ME))
    store.append(KEPT)
    store.close()
    data = bytearray(store.path.read_bytes())
    data[12] ^= 1
    store.path.write_bytes(data)
    with pytest.raises(StoreError, match="line 1 is damaged"):
        Store(tmp_path)


def test_one_process_a_file(tmp_path: Path) -> None:
    """Two sentinels on one file would each vote."""
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="in use"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def config(tmp_path: Path, *lines: str) -> Path:
    """A configuration file."""
    path = tmp_path / "sentinel.conf"
    path.write_text("\n".join(("port 0", "bind 127.0.0.1", *lines)) + "\n")
    return path


def test_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    """What is said of a shard may stand before the shard, as genuine sentinels sometimes write it."""
    peer = "b" * 40
    path = config(
        tmp_path,
        "sentinel known-replica s 127.0.0.1 7002",
        f"sentinel known-sentinel s 127.0.0.1 26380 {peer}",
        "sentinel down-after-milliseconds s 2500",
        "sentinel auth-pass s secret",
        "sentinel monitor s 127.0.0.1 7001 2",
        f"sentinel myid {ME}",
        "sentinel current-epoch 6",
    )
    settings = load([str(path)])
    monitor = settings.monitors["s"]
    assert (settings.myid, settings.current_epoch) == (ME, 6)
    assert monitor.rules == Rules(quorum=2, down_after=2.5, auth_pass="secret")
    assert monitor.replicas == [Address("127.0.0.1", 7002)]
    assert monitor.peers == {peer: Address("127.0.0.1", 26380)}
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sentinel monitor s 127.0.0.1 7001 0", "Quorum must be 1 or greater"),
        ("sentinel monitor s 127.0.0.1 70010 2", "between 1 and 65535"),
        ("sentinel down-after-milliseconds t 5", "No such master"),
        ("sentinel auth-pass t hunter2", "No such master"),
        ("sentinel nonsense 1", "Unrecognized sentinel configuration statement"),
        ("sentinel myid xyz", "Malformed Sentinel id"),
        ("nonsense 1", "Bad directive"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, line: str, reason: str) -> None:
    """The error says what is wrong, and never repeats a password."""
    with pytest.raises(ConfigFileError, match=reason) as caught:
        load([str(config(tmp_path, line))])
    assert "hunter2" not in str(caught.value)


def test_options_of_sentinel_set() -> None:
    """Names in any case, bounds kept, unknown ones told apart."""
    assert with_option(RULES, "Down-After-Milliseconds", "1500") == replace(RULES, down_after=1.5)
    assert with_option(RULES, "nonsense", "1") is None


class Clock:
    """A clock that is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def engine_of(tmp_path: Path, *lines: str) -> tuple[Engine, Store]:
    """An engine that has loaded a configuration and its state file."""
    settings = load([str(config(tmp_path, "sentinel monitor cache-0 127.0.0.1 7001 2", *lines))])
    store = Store(tmp_path)
    engine = Engine(settings, store, ME, clock=Clock(), luck=lambda: 0.5)
    engine.load([TOPOLOGY])
    return engine, store


def test_state_is_on_disk_before_apply_returns(tmp_path: Path) -> None:
    """A vote can be read from the file as soon as it can be answered."""
    engine, store = engine_of(tmp_path)
    engine.apply("cache-0", events.VoteRequested("c" * 40, 9))
    kept = read(store.path).shards["cache-0"].state
    assert (kept.leader, kept.leader_epoch) == ("c" * 40, 9)
    store.close()


def test_a_restart_keeps_the_new_primary_and_rules_follow_whoever_changed_last(tmp_path: Path) -> None:
    """The configuration file still names the old primary; a rule set at run time lasts until the file changes it."""
    engine, store = engine_of(tmp_path)
    hello = events.Hello(Address("127.0.0.1", 1), "c" * 40, 5, "cache-0", Address("127.0.0.1", 7002), 5)
    engine.apply("cache-0", hello)
    engine.apply("cache-0", events.RulesSet(replace(engine.shards["cache-0"].rules, down_after=7.0)))
    store.close()
    engine, store = engine_of(tmp_path)
    shard = engine.shards["cache-0"]
    assert (shard.primary.port, shard.config_epoch, shard.rules.down_after) == (7002, 5, 7.0)
    assert engine.topologies["cache"].shards[0].primary == IDS[1]
    store.close()
    engine, store = engine_of(tmp_path, "sentinel down-after-milliseconds cache-0 9000")
    assert engine.shards["cache-0"].rules.down_after == 9.0
    store.close()


def test_topology_follows_the_configuration(tmp_path: Path) -> None:
    """A switch writes a record with its epoch and publishes it; a topology with a higher epoch switches the shard."""
    engine, store = engine_of(tmp_path)
    published: list[str] = []
    engine.publish = lambda channel, payload: published.append(channel)
    assert engine.shards["cache-0"].config_epoch == 1
    engine.apply("cache-0", events.Hello(Address("h", 1), "c" * 40, 5, "cache-0", Address("127.0.0.1", 7003), 5))
    record = engine.topologies["cache"].shards[0]
    assert (record.epoch, record.primary, record.replicas) == (5, IDS[2], (IDS[1], IDS[0]))
    assert "+topology" in published
    assert published.count("+switch-master") == 1
    assert not engine.set_topology(TOPOLOGY)
    assert engine.set_topology(with_primary(engine.topologies["cache"], "cache-0", IDS[1], 6))
    shard = engine.shards["cache-0"]
    assert (shard.primary.port, shard.config_epoch) == (7002, 6)
    store.close()


def test_a_stop_between_shard_and_topology_is_made_good(tmp_path: Path) -> None:
    """Two records cannot be written at once; after a stop between them the start finishes what was begun."""
    engine, store = engine_of(tmp_path)
    ahead = replace(durable(engine.shards["cache-0"]), primary=Address("127.0.0.1", 7002), config_epoch=4, seen_epoch=4)
    store.append(ShardKept(ahead, engine.settings.monitors["cache-0"].rules))
    store.close()
    engine, store = engine_of(tmp_path)
    assert engine.topologies["cache"].shards[0].epoch == 4
    assert engine.topologies["cache"].shards[0].primary == IDS[1]
    store.close()
    store = Store(tmp_path)
    store.append(TopologyKept(with_primary(engine.topologies["cache"], "cache-0", IDS[2], 8)))
    store.close()
    engine, store = engine_of(tmp_path)
    assert (engine.shards["cache-0"].config_epoch, engine.shards["cache-0"].primary.port) == (8, 7003)
    store.close()
