"""The sentinels' deciders one by one: transitions, votes, choice, learning, and the values that they read and write."""

from dataclasses import replace

import pytest

from sentinel import choose, events, failover, health, learn, quorum
from sentinel.decide import decide
from sentinel.events import Emit, Follow, Hello, InfoCame, Switched
from sentinel.failover import TRANSITIONS, Step
from sentinel.hello import read_hello, write_hello
from sentinel.info import parse_info
from sentinel.state import (
    Address,
    Failover,
    Health,
    Info,
    Peer,
    Role,
    Rules,
    Shard,
    Stage,
    monitored,
    with_node,
    with_peer,
)

ME, P1, P2 = (f"{n:040x}" for n in (1, 2, 3))
A, B, C = (Address("127.0.0.1", port) for port in (7001, 7002, 7003))
NOW = 1000.0
WELL = Health(last_pong=NOW, last_reply=NOW, connected=True)


def shard_with(peers: int = 2, **rules: object) -> Shard:
    """A shard of three healthy nodes, primary A, watched by this sentinel and `peers` others."""
    shard = monitored("cache-0", ME, Rules(quorum=2, **{"down_after": 5.0, **rules}), A, NOW)
    shard = learn.add_node(learn.add_node(shard, B, NOW), C, NOW)
    infos = {
        A: Info(role=Role.PRIMARY, run_id="a"),
        B: Info(role=Role.REPLICA, run_id="b", primary=A, link_up=True, offset=100),
        C: Info(role=Role.REPLICA, run_id="c", primary=A, link_up=True, offset=200),
    }
    for address, info in infos.items():
        node = replace(shard.nodes[address], health=WELL, info=info, info_at=NOW)
        shard = with_node(shard, node)
    for number in range(peers):
        peer_id = f"{2 + number:040x}"
        address = Address("127.0.0.1", 8000 + number)
        shard = with_peer(shard, Peer(id=peer_id, address=address, health=WELL, hello_at=NOW))
    return shard


def set_info(shard: Shard, address: Address, **changes: object) -> Shard:
    """The shard with some of a node's INFO changed."""
    node = shard.nodes[address]
    assert node.info is not None
    return with_node(shard, replace(node, info=replace(node.info, **changes)))


def set_health(shard: Shard, address: Address, **changes: object) -> Shard:
    """The shard with some of a node's health changed."""
    node = shard.nodes[address]
    return with_node(shard, replace(node, health=replace(node.health, **changes)))


def names(actions: list[events.Action]) -> list[str]:
    """The events among the actions."""
    return [a.event for a in actions if isinstance(a, Emit)]


# --- transitions
@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("step", list(Step))
def test_only_listed_transitions_exist(stage: Stage, step: Step) -> None:
    """A step that the table lacks is an error; the others lead where it says, and none out of nothing."""
    shard = replace(shard_with(), failover=Failover(stage=stage, epoch=1, started_at=NOW, stage_at=NOW))
    if (stage, step) not in TRANSITIONS:
        with pytest.raises(KeyError):
            failover.move(shard, step, NOW)
    else:
        assert failover.move(shard, step, NOW).stage is TRANSITIONS[stage, step]


def test_every_stage_can_be_reached_and_left() -> None:
    """The diagram has no dead end and no stage that nothing leads to; any stage ends by a newer configuration."""
    assert set(TRANSITIONS.values()) | {Stage.ELECTION} == set(Stage)
    for stage in set(Stage) - {Stage.NONE}:
        assert TRANSITIONS[stage, Step.SUPERSEDED] is Stage.NONE
    assert not any(stage is Stage.NONE for stage, _ in TRANSITIONS)


# --- health
def test_silence_counts_from_the_oldest_question() -> None:
    """Further questions don't make the silence younger, an invalid answer does not end it, a valid one does."""
    h = health.asked(health.asked(WELL, 10.0), 12.0)
    assert not health.is_silent(h, 5.0, 15.0)
    assert health.is_silent(h, 5.0, 15.1)
    assert health.is_silent(health.answered(h, False, 15.0), 5.0, 15.1)
    assert not health.is_silent(health.answered(h, True, 15.0), 5.0, 100.0)


def test_own_sleep_is_not_the_silence_of_others() -> None:
    """A sentinel that stood still for an hour does not call everybody down when it wakes."""
    shard, _ = decide(shard_with(), events.Tick(), NOW, 0.5)
    shard, _ = decide(shard, events.Asked(A), NOW + 0.1, 0.5)
    shard, actions = decide(shard, events.Tick(), NOW + 3600, 0.5)
    assert "+sdown" not in names(actions)
    assert "+overslept" in names(actions)
    for tick in range(60):
        shard, actions = decide(shard, events.Tick(), NOW + 3600 + tick / 10, 0.5)
    assert shard.primary_node.down_since is not None


def evidence(shard: Shard) -> Shard:
    """The shard after the primary refused a connection."""
    return set_health(shard, A, gone_since=NOW + 1, connected=False, silent_since=NOW + 1)


def test_evidence_alone_is_not_enough() -> None:
    """A refused connection needs replicas as witnesses; until they have spoken the primary is not down."""
    shard, actions = health.judge(evidence(shard_with()), NOW + 1.1)
    assert shard.primary_node.down_since is None
    assert [a.address for a in actions if isinstance(a, events.FetchInfo)] == [B, C]


@pytest.mark.parametrize(
    ("b_up", "c_up", "c_reachable", "down"),
    [(False, False, True, True), (False, True, True, False), (False, True, False, True), (True, True, True, False)],
)
def test_all_reachable_replicas_have_to_testify(b_up: bool, c_up: bool, c_reachable: bool, down: bool) -> None:
    """One replica that still streams from the primary saves it; one that cannot be reached has no say."""
    shard = evidence(shard_with())
    for address, up in ((B, b_up), (C, c_up)):
        shard = set_info(shard, address, link_up=up)
        shard = with_node(shard, replace(shard.nodes[address], info_at=NOW + 1.05))
    shard = set_health(shard, C, connected=c_reachable)
    shard, _ = health.judge(shard, NOW + 1.1)
    assert (shard.primary_node.down_since is not None) == down


def test_a_witnessed_death_stands_until_the_process_answers() -> None:
    """The witnesses' later words, such as of their own promotion, change nothing; a PONG does."""
    shard = evidence(shard_with())
    for address in (B, C):
        shard = set_info(shard, address, link_up=False)
        shard = with_node(shard, replace(shard.nodes[address], info_at=NOW + 1.05))
    shard, _ = health.judge(shard, NOW + 1.1)
    shard, actions = health.judge(set_info(shard, C, link_up=True), NOW + 1.2)
    assert shard.primary_node.down_since == NOW + 1.1
    assert actions == []
    shard, actions = decide(shard, events.Answered(A, True), NOW + 1.3, 0.5)
    assert names(actions)[0] == "-sdown"
    assert shard.primary_node.down_since is None


def test_testimony_from_before_the_evidence_does_not_count() -> None:
    """A link that was down before, for another reason, proves nothing."""
    shard = evidence(shard_with())
    for address in (B, C):
        shard = set_info(shard, address, link_up=False)
    shard, _ = health.judge(shard, NOW + 1.1)
    assert shard.primary_node.down_since is None


# --- votes
def test_one_vote_an_epoch() -> None:
    """The first who asks at an epoch gets the vote; a higher epoch gets a new one, a lower or equal one none."""
    shard, actions = quorum.grant(shard_with(), P1, 5, NOW, 0.5)
    assert names(actions) == ["+new-epoch", "+vote-for-leader"]
    for candidate, epoch in ((P2, 5), (P2, 4), (P1, 5)):
        same, actions = quorum.grant(shard, candidate, epoch, NOW, 0.5)
        assert (same, actions) == (shard, [])
    shard, _ = quorum.grant(shard, P2, 6, NOW, 0.5)
    assert (shard.leader, shard.leader_epoch) == (P2, 6)


def test_votes_are_per_shard_and_not_for_the_past() -> None:
    """A voter that has heard of epoch 20 elsewhere still votes at 5, but not at or below the shard's configuration."""
    ahead = replace(shard_with(), seen_epoch=20)
    shard, _ = quorum.grant(ahead, P1, 5, NOW, 0.5)
    assert (shard.leader, shard.leader_epoch) == (P1, 5)
    for epoch in (4, 5):
        settled = replace(ahead, config_epoch=5)
        assert quorum.grant(settled, P1, epoch, NOW, 0.5) == (settled, [])


def test_a_leader_gives_no_vote_and_a_candidate_steps_back() -> None:
    """Who is promoting goes on; who only asks for votes gives way to a higher epoch, and waits a while."""
    candidate, _ = failover.start(shard_with(), NOW, 0.0)
    shard, _ = quorum.grant(candidate, P1, 9, NOW, 0.5)
    assert shard.failover is None
    assert shard.next_try_at == NOW + quorum.ELECTION_TIMEOUT * 1.5
    leading = failover.move(candidate, Step.ELECTED, NOW)
    assert quorum.grant(leading, P1, 9, NOW, 0.5) == (leading, [])


@pytest.mark.parametrize(("peers", "configured", "needed"), [(0, 1, 1), (2, 2, 2), (2, 3, 3), (3, 2, 3), (4, 2, 3)])
def test_votes_needed(peers: int, configured: int, needed: int) -> None:
    """A majority of all known sentinels, and never fewer than the quorum."""
    shard = replace(shard_with(peers), rules=Rules(quorum=configured))
    assert quorum.votes_needed(shard) == needed


def test_peers_answers_go_stale() -> None:
    """A peer's word that the primary is down counts for five seconds."""
    shard = with_node(shard_with(), replace(shard_with().nodes[A], down_since=NOW))
    peer = replace(shard.peers[P1], says_down=True, answered_at=NOW)
    shard = with_peer(shard, peer)
    assert quorum.down_votes(shard, NOW + 4.9) == 2
    assert quorum.down_votes(shard, NOW + 5.1) == 1


def test_ranks_are_a_permutation_and_change_from_shard_to_shard() -> None:
    """Three sentinels never stand at the same moment, and the first is not the same for every shard."""
    firsts = set()
    for number in range(30):
        views = {}
        for me in (ME, P1, P2):
            peers = {p: Peer(id=p, address=A, health=WELL) for p in (ME, P1, P2) if p != me}
            views[me] = quorum.rank(replace(shard_with(), name=f"cache-{number}", me=me, peers=peers), NOW)
        assert sorted(views.values()) == [0, 1, 2]
        firsts.add(min(views, key=lambda who: views[who]))
    assert firsts == {ME, P1, P2}


def test_retries_back_off_to_ten_seconds() -> None:
    """Once to twice the timeout, doubling, never above the cap however many have failed."""
    assert quorum.retry_delay(0, 0.0) == quorum.ELECTION_TIMEOUT
    assert quorum.retry_delay(2, 0.5) == 6.0
    assert {quorum.retry_delay(n, 0.9) for n in (5, 50, 5000)} == {10.0}


# --- choice
def test_the_best_replica() -> None:
    """Lower priority first, then more data, then the smaller run id; priority 0 is never taken."""
    shard = shard_with()
    assert choose.choose(shard, NOW).address == C
    assert choose.choose(set_info(shard, B, priority=10), NOW).address == B
    assert choose.choose(set_info(shard, B, offset=200), NOW).address == B
    assert choose.choose(set_info(shard, C, priority=0), NOW).address == B


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: set_info(s, C, offset=0),
        lambda s: set_info(s, C, primary=B),
        lambda s: set_info(s, C, loading=True),
        lambda s: set_info(s, C, role=Role.PRIMARY),
        lambda s: set_info(s, C, link_up=False, link_down_for=60.0),
        lambda s: set_info(s, C, link_up=False, link_down_for=float("inf")),
        lambda s: set_health(s, C, connected=False),
        lambda s: set_health(s, C, gone_since=NOW),
        lambda s: set_health(s, C, last_pong=NOW - 60),
        lambda s: with_node(s, replace(s.nodes[C], info_at=NOW - 60)),
        lambda s: with_node(s, replace(s.nodes[C], down_since=NOW)),
        lambda s: set_info(with_node(s, replace(s.nodes[C], linked="x" * 40)), C, replids=("y" * 40,)),
    ],
    ids=["empty", "other primary", "loading", "no replica", "link long down", "never linked", "disconnected", "gone",
         "silent", "old INFO", "down", "foreign history"],
)  # fmt: skip
def test_who_may_not_be_promoted(spoil) -> None:
    """Each of these alone keeps the replica with the most data from being chosen."""
    assert choose.choose(spoil(shard_with()), NOW).address == B


# --- learning
def hello_from(peer: str, primary: Address, config_epoch: int, port: int = 8000, seen: int = 0) -> Hello:
    """A hello message."""
    return Hello(Address("127.0.0.1", port), peer, max(seen, config_epoch), "cache-0", primary, config_epoch)


def test_a_newer_configuration_is_taken_and_an_older_one_is_not() -> None:
    """Epochs decide, not who speaks; the old primary stays known as a replica."""
    shard, actions = learn.hello_came(shard_with(), hello_from(P1, C, 3), NOW)
    assert (shard.primary, shard.config_epoch, set(shard.nodes)) == (C, 3, {A, B, C})
    assert names(actions) == ["+new-epoch", "+config-update-from", "+switch-master", "+slave"]
    assert Emit("+switch-master", "cache-0 127.0.0.1 7001 127.0.0.1 7003") in actions
    assert Switched(C, 3) in actions
    same, actions = learn.hello_came(shard, hello_from(P2, A, 2, port=8001), NOW)
    assert (same.primary, same.config_epoch, actions) == (C, 3, [])


def test_two_primaries_at_one_epoch_are_reported() -> None:
    """It cannot be decided which is right, so it is said aloud and nothing is changed."""
    shard = replace(shard_with(), config_epoch=3, seen_epoch=3)
    same, actions = learn.hello_came(shard, hello_from(P1, C, 3), NOW)
    assert same.primary == A
    assert names(actions) == ["-config-conflict"]


def test_a_failover_in_progress_is_overtaken_by_a_newer_configuration() -> None:
    """Whoever promotes at an older epoch stops when it hears of a newer one."""
    shard, _ = failover.start(shard_with(), NOW, 0.0)
    shard, _ = learn.hello_came(shard, hello_from(P1, C, 8), NOW)
    assert shard.failover is None
    shard.check_invariants()


def test_a_topology_says_who_the_members_are() -> None:
    """A node that has moved is known by its new address alone; a record of an older epoch drops and changes nothing."""
    moved = Address("127.0.0.1", 7103)
    settled = replace(shard_with(), config_epoch=2, seen_epoch=2)
    shard, actions = learn.topology_came(settled, events.TopologyCame(B, (B, A, moved), 3), NOW)
    assert (shard.primary, shard.config_epoch, set(shard.nodes)) == (B, 3, {A, B, moved})
    assert "+switch-master" in names(actions)
    same, _ = learn.topology_came(shard, events.TopologyCame(A, (A, B, C), 1), NOW)
    assert same.primary == B
    assert moved in same.nodes


def test_peers_that_move_or_take_over_an_address() -> None:
    """An id that speaks from elsewhere has moved; an address with a new id belongs to the new one alone."""
    shard, actions = learn.hello_came(shard_with(), hello_from(P1, A, 0, port=9999), NOW)
    assert names(actions) == ["+sentinel-address-switch"]
    assert shard.peers[P1].address.port == 9999
    shard, actions = learn.hello_came(shard, hello_from("f" * 40, A, 0, port=9999), NOW)
    assert names(actions) == ["+sentinel-invalid-addr", "+sentinel"]
    assert set(shard.peers) == {P2, "f" * 40}
    assert learn.hello_came(shard, hello_from(ME, C, 9), NOW) == (shard, [])


def test_only_the_primary_tells_of_replicas() -> None:
    """A stale primary's list must not bring strangers in."""
    info = Info(role=Role.PRIMARY, replicas=(Address("127.0.0.1", 7999),))
    shard, _ = learn.info_came(shard_with(), InfoCame(B, info, NOW + 1), NOW + 1)
    assert len(shard.nodes) == 3
    shard, actions = learn.info_came(shard, InfoCame(A, info, NOW + 1), NOW + 1)
    assert len(shard.nodes) == 4
    assert "+slave" in names(actions)


@pytest.mark.parametrize(("demoted", "after"), [(True, 1.0), (False, 4.0)])
def test_a_stray_primary_is_corrected_after_a_while(demoted: bool, after: float) -> None:
    """Not at once: the hello of a newer configuration that makes it the primary may still be on its way."""
    shard = with_node(shard_with(), replace(shard_with().nodes[B], demoted=demoted))
    stray = Info(role=Role.PRIMARY, run_id="b")
    sent: list[float] = []
    for tick in range(60):
        now = NOW + tick / 10
        shard = with_node(shard, replace(shard.nodes[A], info_at=now))
        shard, actions = learn.info_came(shard, InfoCame(B, stray, now), now)
        if Follow(B, A) in actions:
            sent.append(now)
    assert sent[0] - NOW == pytest.approx(after, abs=0.11)
    shard = set_health(shard, A, silent_since=NOW)
    assert Follow(B, A) not in learn.info_came(shard, InfoCame(B, stray, NOW + 20), NOW + 20)[1]


def test_an_answer_that_was_overtaken_is_dropped() -> None:
    """INFO that was asked for before the one we hold is older, whenever it arrives."""
    shard = shard_with()
    late = InfoCame(C, Info(role=Role.PRIMARY), NOW - 1)
    assert learn.info_came(shard, late, NOW + 1) == (shard, [])


# --- what is read
def test_info_of_a_replica() -> None:
    """The fields that decide are read; what is missing keeps a harmless default."""
    text = (
        b"# Server\r\nrun_id:abc\r\nnode_id:n1\r\n# Replication\r\nrole:slave\r\n"
        b"master_host:127.0.0.1\r\nmaster_port:7001\r\n"
        b"master_link_status:down\r\nmaster_link_down_since_seconds:7\r\nslave_repl_offset:42\r\nslave_priority:5\r\n"
        b"replica_announced:0\r\nmaster_replid:aa\r\nmaster_replid2:0000\r\n# Persistence\r\nloading:1\r\n"
    )
    assert parse_info(text) == Info(
        role=Role.REPLICA, run_id="abc", node_id="n1", primary=A, link_up=False, link_down_for=7.0, priority=5,
        offset=42, announced=False, replids=("aa",), loading=True,
    )  # fmt: skip
    never = parse_info(b"role:slave\nmaster_link_down_since_seconds:-1\nslave_priority:x\n")
    assert (never.link_down_for, never.priority) == (float("inf"), 100)
    assert parse_info(b"\xff\x00garbage") == Info(role=Role.PRIMARY)


def test_info_of_a_primary() -> None:
    """Replica lines are read until the first number that is missing; malformed ones are skipped."""
    text = b"role:master\r\nslave0:ip=127.0.0.1,port=7002,state=online\r\n"
    text += b"slave1:ip=,port=0\r\nslave2:ip=127.0.0.1,port=7003\r\n"
    assert parse_info(text).replicas == (B, C)
    assert parse_info(text + b"slave4:ip=h,port=1\r\n").replicas == (B, C)


def test_hello_round_trip() -> None:
    """What one sentinel writes another reads."""
    shard = replace(shard_with(), seen_epoch=4, config_epoch=3)
    text = write_hello(shard, Address("127.0.0.1", 8000))
    assert text == f"127.0.0.1,8000,{ME},4,cache-0,127.0.0.1,7001,3"
    assert read_hello(text.encode()) == Hello(Address("127.0.0.1", 8000), ME, 4, "cache-0", A, 3)


@pytest.mark.parametrize(
    "text",
    ["", "a,b", f"h,1,{ME},0,n,h,1", f"h,0,{ME},0,n,h,1,0", f"h,1,{ME[1:]},0,n,h,1,0", f"h,1,{ME},-1,n,h,1,0",
     f"h,1,{ME},0,n,h,99999,0", f",1,{ME},0,n,h,1,0", f"h,1,{ME},0,n,h,1,{2**63}", f"h,1,{ME},0,{'n' * 3000},h,1,0"],
)  # fmt: skip
def test_malformed_hellos_are_dropped(text: str) -> None:
    """Nothing that a stranger publishes is believed unless all of it makes sense."""
    assert read_hello(text.encode()) is None
