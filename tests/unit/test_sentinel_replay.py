"""Failovers replayed in a simulated world: every subset of voters, a stop after each step, lost messages, rivals."""

import itertools

import pytest

from sentinel import events
from sentinel.state import Stage
from tests.unit.sentinel_world import A, B, C, World, sentinel_id


def kill_primary(world: World) -> None:
    """End the primary's process."""
    world.nodes[A].alive = False


def test_a_killed_primary_is_replaced_at_once_by_the_replica_with_the_most_data() -> None:
    """Refused connections and broken replica links are enough; nobody waits for down-after."""
    world = World(3)
    kill_primary(world)
    began = world.now
    assert world.run(5, lambda: world.agreed() == C)
    assert world.now - began < 0.6
    world.check_one_leader_an_epoch()
    assert len(world.promotions) == 1
    assert world.events_of("+switch-master") == ["+switch-master"] * 3


def test_a_steady_world_stays_as_it_is() -> None:
    """Without a failure nobody votes, promotes or corrects anything in a long time."""
    world = World(3, loss=0.05)
    world.run(60)
    assert world.agreed() == A
    assert world.promotions == []
    assert {s.seen_epoch for s in world.shards.values()} == {0}


@pytest.mark.parametrize("alive", [s for n in range(1, 6) for s in itertools.combinations(range(5), n)])
def test_every_subset_of_five_voters(alive: tuple[int, ...]) -> None:
    """A majority that is alive fails over; a smaller subset never does, however long it waits."""
    world = World(5)
    world.dead |= set(range(5)) - set(alive)
    kill_primary(world)
    done = world.run(25, world.is_agreed)
    assert done == (len(alive) >= 3)
    assert bool(world.promotions) == done
    world.check_one_leader_an_epoch()


@pytest.mark.parametrize("outage", [50, 3000])
def test_a_stop_after_each_step(outage: int) -> None:
    """A sentinel that stops after any event, having recorded and not acted, harms nothing and holds up nobody long."""
    world = World(3)
    start = world.applied
    kill_primary(world)
    assert world.run(5, world.is_agreed)
    steps = world.applied - start + 10
    for step in range(0, steps, 7 if outage > 1000 else 2):
        world = World(3)
        assert world.applied == start
        world.interrupts = {start + step: outage}
        kill_primary(world)
        assert world.run(40, world.is_agreed), f"stopped after step {step}"
        world.check_one_leader_an_epoch()


@pytest.mark.parametrize("seed", range(30))
def test_lost_messages_and_repeated_stops(seed: int) -> None:
    """With a third of the messages lost and sentinels that come and go, an epoch has one leader, and all agree."""
    world = World(5, seed=seed, loss=0.33)
    first = world.applied
    world.interrupts = {first + world.random.randrange(20, 3000): world.random.randrange(10, 5000) for _ in range(8)}
    kill_primary(world)
    assert world.run(120, world.is_agreed)
    world.check_one_leader_an_epoch()


def test_the_old_primary_comes_back_as_a_replica() -> None:
    """After its return it says that it is primary, and is corrected within seconds."""
    world = World(3)
    kill_primary(world)
    assert world.run(5, world.is_agreed)
    world.nodes[A].alive = True
    assert world.run(5, lambda: world.agreed() == C)
    assert world.nodes[A].primary == C
    assert "+convert-to-slave" in world.events_of()


def test_one_failover_after_another() -> None:
    """Each later failure is handled at a higher epoch, and only replicas of the present primary are promoted."""
    world = World(3)
    kill_primary(world)
    assert world.run(5, lambda: world.agreed() == C)
    world.nodes[A].alive = True
    assert world.run(5, lambda: world.agreed() == C)
    world.run(3)
    world.nodes[C].alive = False
    assert world.run(10, lambda: world.agreed() in (A, B))
    epochs = [epoch for _, epoch, _ in world.promotions]
    assert epochs == sorted(set(epochs))
    world.check_one_leader_an_epoch()


def test_a_leader_that_dies_after_promoting() -> None:
    """Nobody else knows of the promotion: the next leader has a higher epoch, and the stray primary is corrected."""
    world = World(3)
    kill_primary(world)
    assert world.run(5, lambda: bool(world.promotions))
    leader = world.promotions[0][0]
    world.dead.add(leader)
    assert world.run(30, world.is_agreed)
    world.check_one_leader_an_epoch()


def test_an_ordered_failover_needs_votes_and_no_failure() -> None:
    """By hand the primary is replaced while it serves; the old one follows the new one."""
    world = World(3)
    world.apply(1, events.FailoverOrdered())
    assert world.run(2, lambda: world.agreed() == C)
    assert world.nodes[A].primary == C
    world = World(3)
    world.dead |= {0, 2}
    world.apply(1, events.FailoverOrdered())
    world.run(5)
    assert world.promotions == []
    assert world.agreed() == A


def test_a_silent_primary_is_waited_for() -> None:
    """Without evidence only down-after counts: a primary that answers in time is left alone."""
    world = World(3)
    probe = world._probe

    def silent(number: int, address: object, with_info: bool) -> None:
        if address == A:
            world.apply(number, events.Asked(A))
        else:
            probe(number, address, with_info)

    world._probe = silent
    world.run(0.9)
    assert world.promotions == []
    assert world.run(2, lambda: bool(world.promotions))


def test_no_replica_no_election() -> None:
    """With nobody to promote, epochs are not worn out by elections."""
    world = World(3)
    for node in world.nodes.values():
        node.alive = False
    world.run(60)
    assert world.promotions == []
    assert all(s.seen_epoch == 0 for s in world.shards.values())
    assert all(s.stage is Stage.NONE for s in world.shards.values())


def test_a_restarted_sentinel_votes_no_second_time() -> None:
    """What it voted is on disk before anybody is told, so a restart cannot give another vote at the same epoch."""
    world = World(3)
    world.apply(0, events.VoteRequested(sentinel_id(1), 7))
    world.restart(0, 0.01)
    world.run(0.02)
    world.apply(0, events.VoteRequested(sentinel_id(2), 7))
    assert (world.shards[0].leader, world.shards[0].leader_epoch) == (sentinel_id(1), 7)
