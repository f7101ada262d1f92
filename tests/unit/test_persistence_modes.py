"""Modes of persistence: names, configuration lines, and which one a node must start in."""

from __future__ import annotations

import itertools

import pytest

from cluster import plans
from cluster.agent.identity import Identity, allocate, from_json, to_json, wanted_mode, with_mode
from cluster.agent.layout import led_by_data
from cluster.agent.status import _doing
from cluster.blueprint import Blueprint, BlueprintError, parse
from cluster.persistence import (
    BOTH,
    JOURNAL,
    MODES,
    OFF,
    SNAPSHOT,
    Mode,
    directives,
    mode_of,
    read_mode,
    starting_mode,
    unwritten,
)
from cluster.topology import Node, Shard, Topology
from sentinel.cli.progress import Changes
from sentinel.cli.show import ago

A, B, C = "a" * 40, "b" * 40, "c" * 40


def declared(*lines: str) -> Blueprint:
    """A blueprint of one service with these lines."""
    head = "services:\n- type: keyvalue\n  name: cache\n  ipAllowList: []\n"
    return parse((head + "".join(f"  {line}\n" for line in lines)).encode(), "b.yaml")


def mistake(*lines: str) -> str:
    """The one message about a blueprint with these lines."""
    with pytest.raises(BlueprintError) as caught:
        declared(*lines)
    return str(caught.value)


def identity_of(blueprint: Blueprint, old: Identity | None = None) -> Identity:
    """The identity that serves a blueprint."""
    numbers = itertools.count()
    return allocate(blueprint, old or Identity(), lambda n: f"{next(numbers):0{n}x}", lambda _: True)


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_what_a_mode_writes_is_read_back(mode: Mode) -> None:
    """From the lines of a configuration, whatever else stands there."""
    lines = "".join(f'{name} "{value}"\n' for name, value in directives(mode))

    assert read_mode(f"# save 1 1\nport 7000\n{lines}maxmemory 1mb\n".encode()) == mode
    assert mode_of(mode.snapshot, mode.journal) == mode


def test_a_configuration_without_a_word_has_a_genuine_servers_mode() -> None:
    """RDB files by its save points, no append-only file."""
    assert read_mode(b"port 7000\n") == SNAPSHOT
    assert read_mode(b"save \nappendonly yes\n") == JOURNAL


def test_plans_have_modes() -> None:
    """Only the plan without a disk keeps nothing; the others a journal and snapshots."""
    assert {plan.name: plan.persistence.name for plan in plans.LADDER.values()} == {
        "free": "off", "starter": "journal_snapshot", "standard": "journal_snapshot", "pro": "journal_snapshot",
        "pro_plus": "journal_snapshot",
    }  # fmt: skip
    assert plans.custom(1 << 30, 10).persistence == BOTH


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_a_blueprint_names_a_mode(mode: Mode) -> None:
    """By the field `persistenceMode`."""
    assert declared(f"persistenceMode: {mode.name}").services[0].persistence == mode


def test_a_blueprint_without_the_field_leaves_it_to_the_plan() -> None:
    """Nothing is written into the service."""
    assert declared().services[0].persistence is None


def test_wrong_modes_are_told_with_line_and_field() -> None:
    """An unknown word, a word of other products, a plan without a disk."""
    assert mistake("persistenceMode: snapshott") == (
        "b.yaml:5:20: services[0].persistenceMode: 'snapshott' is no mode of persistence (did you mean 'snapshot'?); "
        "one of off, snapshot, journal, journal_snapshot"
    )
    assert mistake("persistenceMode: aof").startswith(
        "b.yaml:5:20: services[0].persistenceMode: 'aof' is called 'journal' here (off = "
    )
    assert mistake("plan: free", "persistenceMode: journal") == (
        "b.yaml:6:20: services[0].persistenceMode: the plan 'free' has no disk; choose a larger plan, or write "
        "'persistenceMode: off'"
    )
    assert "a text expected" in mistake("persistenceMode: [journal]")
    assert declared("plan: free", "persistenceMode: off").services[0].persistence == OFF


def test_who_says_the_mode() -> None:
    """The blueprint first, then what was set on the command line, then the plan."""
    service = declared().services[0]
    found = identity_of(declared())
    assert wanted_mode(service, found.service("cache")) == BOTH

    chosen = from_json(to_json(with_mode(found, "cache", SNAPSHOT)))
    assert wanted_mode(service, chosen.service("cache")) == SNAPSHOT
    assert wanted_mode(service, identity_of(declared(), chosen).service("cache")) == SNAPSHOT

    said = declared("persistenceMode: journal")
    assert wanted_mode(said.services[0], chosen.service("cache")) == JOURNAL
    after = identity_of(said, chosen)
    assert wanted_mode(service, after.service("cache")) == BOTH
    free = declared("plan: free").services[0]
    assert wanted_mode(free, chosen.service("cache")) == OFF


STARTS = [
    (None, SNAPSHOT, True, True, SNAPSHOT),  # files that somebody placed before the first start
    (SNAPSHOT, JOURNAL, True, True, SNAPSHOT),  # the append-only file is of an earlier time
    (JOURNAL, SNAPSHOT, True, True, JOURNAL),
    (JOURNAL, OFF, False, True, JOURNAL),
    (BOTH, SNAPSHOT, True, False, SNAPSHOT),  # its append-only file is gone: the RDB file is what there is
    (OFF, JOURNAL, True, False, JOURNAL),  # nothing of ours
    (SNAPSHOT, JOURNAL, False, True, JOURNAL),
    (BOTH, BOTH, True, True, BOTH),
]


@pytest.mark.parametrize(("old", "wanted", "rdb", "aof", "start"), STARTS)
def test_a_node_starts_in_the_mode_that_wrote_its_files(
    old: Mode | None, wanted: Mode, rdb: bool, aof: bool, start: Mode
) -> None:
    """Never in one that would load older files, even when another mode is wanted now."""
    assert starting_mode(old, wanted, rdb, aof) == start


def test_what_a_mode_does_not_write() -> None:
    """Names that a later start must not find."""
    assert [unwritten(mode) for mode in (OFF, SNAPSHOT, JOURNAL, BOTH)] == [
        ("dump.rdb", "appendonlydir"), ("appendonlydir",), ("dump.rdb",), ()
    ]  # fmt: skip


def test_a_shard_does_not_start_under_a_node_without_data() -> None:
    """When another of its nodes has data on disk, that one leads, at a higher epoch."""
    topology = Topology(
        "cache",
        (Shard("cache-0", 4, A, (B, C), ((0, 16383),)),),
        tuple(Node(id, "127.0.0.1", 7000 + i, "cache-0") for i, id in enumerate((A, B, C))),
    )
    assert led_by_data(topology, {A, B, C}) is topology
    assert led_by_data(topology, set()) is topology
    (shard,) = led_by_data(topology, {C}).shards
    assert (shard.primary, shard.epoch, set(shard.replicas)) == (C, 5, {A, B})


def test_what_a_node_is_doing() -> None:
    """Loading with what is left, copying, saving, rewriting: each with its share."""
    far = {"loading": "1", "loading_loaded_perc": "41.60", "loading_eta_seconds": "12"}
    assert _doing(far, False) == "loading its data: 42 %, 12 s left"
    copying = {"master_sync_in_progress": "1", "master_sync_total_bytes": "200", "master_sync_read_bytes": "50"}
    assert _doing(copying, True) == "copying from its primary: 25 %"
    unknown = {"master_sync_in_progress": "1", "master_sync_total_bytes": "0", "master_sync_read_bytes": "5242880"}
    assert _doing(unknown, True) == "copying from its primary: 5 MB"
    busy = {"rdb_bgsave_in_progress": "1", "current_fork_perc": "50.00", "aof_rewrite_in_progress": "1"}
    assert _doing(busy, False) == "saving: 50 %, rewriting its append-only file: 50 %"
    assert _doing({}, False) == ""


def test_how_long_ago() -> None:
    """In the unit that reads well."""
    assert [ago(100, 100 + s) for s in (0, 119, 120, 7200, 172800)] == ["0 s ago", "119 s ago", "2 min ago",
                                                                        "2 h ago", "2 d ago"]  # fmt: skip
    assert ago(None, 5.0) == "-"


def test_progress_is_told_once_a_step() -> None:
    """Figures that grow are no news on lines that stay."""
    lines: list[str] = []
    changes = Changes(lines.append)
    for text in ("writes its RDB file: 1 %", "writes its RDB file: 7 %", "keeps 'snapshot'"):
        changes.say("a", text)
    assert lines == ["a writes its RDB file: 1 %", "a keeps 'snapshot'"]
