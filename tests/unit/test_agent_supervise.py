"""What the agent does when processes die: the pure decider, replayed."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cluster.agent.supervise import (
    FAILOVER_SECONDS,
    FAILOVER_SECONDS_WITHOUT_JOURNAL,
    Action,
    AskReplicas,
    Died,
    Event,
    ModeChanged,
    NothingToLose,
    Start,
    State,
    TellDead,
    TopologyChanged,
    Watched,
    Woke,
    decide,
    next_wake,
)
from cluster.topology import Node, Shard, Topology, with_primary

A, B = "a" * 40, "b" * 40
TOPOLOGY = Topology(
    "cache",
    (Shard("cache-0", 1, A, (B,), ((0, 16383),)),),
    (Node(A, "127.0.0.1", 7000, "cache-0"), Node(B, "127.0.0.1", 7001, "cache-0")),
)
PROMOTED = with_primary(TOPOLOGY, "cache-0", B, 2)


def house(*, journal: bool = False, replica: bool = True) -> State:
    """A primary `a`, a replica `b`, a sentinel and a proxy, all started at 0."""
    nodes = [Watched("a", A, "cache"), *([Watched("b", B, "cache")] if replica else [])]
    others = [Watched("sentinel-1"), Watched("proxy", "", "cache")]
    watched = {one.name: one for one in (*nodes, *others)}
    return State(watched, {"cache": TOPOLOGY}, frozenset({"cache"} if journal else ()))


def replay(state: State, *events: tuple[float, Event]) -> tuple[State, list[list[Action]]]:
    """The last state, and the actions after each event."""
    actions = []
    for now, event in events:
        state, done = decide(state, event, now)
        actions.append(done)
    return state, actions


def test_a_dead_sentinel_is_started_at_once() -> None:
    """Nobody needs to be told, nothing needs to be waited for."""
    state, actions = replay(house(), (100.0, Died("sentinel-1")))

    assert actions == [[Start("sentinel-1")]]
    assert next_wake(state) is None


def test_a_dead_replica_is_told_and_started_as_replica() -> None:
    """It comes back where it was, and the sentinels know."""
    _, actions = replay(house(), (100.0, Died("b")))

    assert actions == [[TellDead(B), Start("b", A)]]


def test_a_dead_primary_comes_back_as_replica_of_its_successor() -> None:
    """It is told at once, waits for the failover, and then follows the new primary."""
    state, actions = replay(house(), (100.0, Died("a")), (100.4, Woke()), (100.5, TopologyChanged(PROMOTED)))

    assert actions == [[TellDead(A)], [], [Start("a", B)]]
    assert next_wake(state) is None


def test_a_primary_without_replica_is_started_in_place() -> None:
    """There is nobody to wait for."""
    _, actions = replay(house(replica=False), (100.0, Died("a")))

    assert actions == [[TellDead(A), Start("a")]]


def test_a_failover_that_does_not_come() -> None:
    """After a bound a primary with a journal is started in place."""
    state, _ = replay(house(journal=True), (100.0, Died("a")))
    assert next_wake(state) == 100.0 + FAILOVER_SECONDS

    due = 100.0 + FAILOVER_SECONDS
    _, actions = replay(state, (due - 0.1, Woke()), (due, Woke()))
    assert actions == [[], [Start("a")]]


def test_an_empty_primary_does_not_come_back_to_replicas_with_data() -> None:
    """Without a journal the replicas are asked first, again and again; it starts when they have nothing to lose."""
    state, _ = replay(house(), (100.0, Died("a")))
    due = 100.0 + FAILOVER_SECONDS_WITHOUT_JOURNAL
    later = due + FAILOVER_SECONDS_WITHOUT_JOURNAL
    state, actions = replay(state, (due, Woke()), (due + 1, Woke()), (later, Woke()))
    assert actions == [[AskReplicas("a", ("b",))], [], [AskReplicas("a", ("b",))]]

    _, actions = replay(state, (later + 1, NothingToLose("a")), (later + 2, NothingToLose("a")))
    assert actions == [[Start("a")], []]

    _, actions = replay(state, (later + 1, TopologyChanged(PROMOTED)), (later + 2, NothingToLose("a")))
    assert actions == [[Start("a", B)], []]


def test_a_journal_that_is_switched_on_shortens_the_wait() -> None:
    """The mode is that of the moment in which the primary dies."""
    state, _ = replay(house(), (1.0, ModeChanged("cache", True)), (100.0, Died("a")))
    assert next_wake(state) == 100.0 + FAILOVER_SECONDS

    state, _ = replay(house(journal=True), (1.0, ModeChanged("cache", False)), (100.0, Died("a")))
    assert next_wake(state) == 100.0 + FAILOVER_SECONDS_WITHOUT_JOURNAL


def test_the_last_replica_dies_while_the_primary_waits() -> None:
    """Both are started, since nobody is left to take over."""
    state, _ = replay(house(), (100.0, Died("a")))
    _, actions = replay(state, (100.2, Died("b")))

    assert actions == [[TellDead(B), Start("a"), Start("b", A)]]


def test_a_process_that_dies_again_and_again_is_given_pauses() -> None:
    """0, 0.5, 1, 2 … 30 seconds; and none again after it ran for long."""
    state = house()
    now = 100.0
    pauses = []
    for _ in range(10):
        state, actions = decide(state, Died("proxy"), now)
        wake = next_wake(state)
        pauses.append(0.0 if wake is None else wake - now)
        now = now if wake is None else wake
        if wake is not None:
            assert actions == []
            state, actions = decide(state, Woke(), now)
        assert actions == [Start("proxy")]
        now += 1.0
    state, actions = decide(state, Died("proxy"), now + 30.0)

    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert actions == [Start("proxy")]


def test_a_death_that_is_told_twice_counts_once() -> None:
    """An event for a process that does not run changes nothing."""
    state, _ = replay(house(), (100.0, Died("a")))

    assert decide(state, Died("a"), 100.1) == (state, [])


def test_a_former_primary_dies_again_as_replica() -> None:
    """After the failover its role is that of the newest topology."""
    _, actions = replay(house(), (1.0, TopologyChanged(PROMOTED)), (100.0, Died("a")), (101.0, Died("b")))

    assert actions == [[], [TellDead(A), Start("a", B)], [TellDead(B)]]


EVENTS = st.one_of(
    st.sampled_from(["a", "b", "sentinel-1", "proxy"]).map(Died),
    st.sampled_from([TOPOLOGY, PROMOTED]).map(TopologyChanged),
    st.just(Woke()),
)


@given(st.lists(st.tuples(st.floats(0.0, 20.0), EVENTS), max_size=30), st.booleans())
def test_whatever_happens_everything_runs_in_the_end(steps: list[tuple[float, Event]], journal: bool) -> None:
    """Any order of events keeps the invariants, starts only what is dead, and within a minute all runs again."""
    state, now = house(journal=journal), 0.0
    running = dict.fromkeys(state.watched, True)
    asked: list[str] = []

    def apply(event: Event) -> None:
        nonlocal state
        if isinstance(event, Died):
            running[event.name] = False
        state, actions = decide(state, event, now)
        for action in actions:
            if isinstance(action, Start):
                assert not running[action.name]
                running[action.name] = True
            elif isinstance(action, AskReplicas):
                asked.append(action.name)

    for pause, event in steps:
        now += pause
        apply(event)
    for _ in itertools.count():
        wake = next_wake(state)
        if wake is None:
            break
        assert wake <= now + FAILOVER_SECONDS_WITHOUT_JOURNAL
        now = max(now, wake)
        apply(Woke())
        while asked:
            apply(NothingToLose(asked.pop()))

    assert all(running.values())
