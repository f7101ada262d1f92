"""Failovers of real processes: killed, stopped and replaced primaries, watched by our sentinels and by mixed sets."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

import pytest
import redis
from redis.sentinel import Sentinel

from cluster.topology import from_json
from tests.conftest import Server
from tests.system.sentinel_rig import NAME, Rig, rig, start_our_node, wait_for


def follow(group: Rig, replica: Server, primary: Server) -> None:
    """Wait until a node follows the primary."""
    wait_for(lambda: group.role(replica) == ("slave", primary.port), f"{replica.port} to follow {primary.port}")


def test_a_killed_primary_is_replaced_long_before_down_after(tmp_path: Path) -> None:
    """With down-after at two minutes only evidence explains a failover; data, replica and events are there."""
    with rig(tmp_path, down_after_ms=120_000) as group:
        old = group.nodes[0]
        listener = group.sentinel_client(2).pubsub()
        listener.psubscribe("*")
        old.kill()
        new = group.wait_for_failover(old)
        (other,) = [n for n in group.nodes if n not in (old, new)]
        follow(group, other, new)
        assert group.node_client(new).get("before") == "failover"
        assert {group.master(n)["config-epoch"] for n in range(3)} == {"1"}
        heard = [m for m in iter(lambda: listener.get_message(timeout=2), None) if m["type"] == "pmessage"]
        switches = [m["data"] for m in heard if m["channel"] == "+switch-master"]
        assert switches == [f"{NAME} 127.0.0.1 {old.port} 127.0.0.1 {new.port}"]


def test_a_stopped_primary_is_replaced_after_down_after_and_demoted_when_it_wakes(tmp_path: Path) -> None:
    """A process that answers nothing gives no evidence; when it goes on, it takes no more writes as a primary."""
    with rig(tmp_path, down_after_ms=1000) as group:
        old = group.nodes[0]
        old.process.send_signal(signal.SIGSTOP)
        new = group.wait_for_failover(old)
        old.process.send_signal(signal.SIGCONT)
        follow(group, old, new)
        wait_for(group.is_settled, "all to be well again")


@pytest.mark.slow
def test_an_old_primary_that_is_started_again_becomes_a_replica(tmp_path: Path) -> None:
    """It says that it is primary, and everybody else knows better."""
    with rig(tmp_path) as group:
        old = group.nodes[0]
        old.kill()
        new = group.wait_for_failover(old)
        again = Server(old.host, old.port, _start_again(old), old.log)
        group.nodes[0] = again
        again.wait_ready()
        follow(group, again, new)
        wait_for(group.is_settled, "all to be well again")


def _start_again(server: Server):
    return subprocess.Popen(server.process.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_failover_by_hand_and_through_redis_py(tmp_path: Path) -> None:
    """SENTINEL FAILOVER replaces a primary that serves; redis-py's Sentinel client finds old, new and replicas."""
    with rig(tmp_path) as group:
        finder = Sentinel([("127.0.0.1", s.port) for s in group.sentinels], min_other_sentinels=2)
        assert finder.discover_master(NAME) == ("127.0.0.1", group.nodes[0].port)
        assert sorted(finder.discover_slaves(NAME)) == sorted(("127.0.0.1", n.port) for n in group.nodes[1:])
        assert group.sentinel_client(1).sentinel_failover(NAME)
        new = group.wait_for_failover(group.nodes[0])
        follow(group, group.nodes[0], new)
        assert finder.discover_master(NAME) == ("127.0.0.1", new.port)
        with pytest.raises(redis.ResponseError, match="No such master with that name"):
            group.sentinel_client(1).sentinel_failover("nobody")


def test_sentinels_that_are_killed_remember(tmp_path: Path) -> None:
    """After a failover each is killed and started on its files: new primary, epoch and peers are known at once."""
    with rig(tmp_path) as group:
        old = group.nodes[0]
        old.kill()
        new = group.wait_for_failover(old)
        for number in range(3):
            before = group.master(number)
            group.restart_sentinel(number)
            after = group.master(number)
            kept = ("ip", "port", "config-epoch", "num-slaves", "num-other-sentinels")
            assert [after[k] for k in kept] == [before[k] for k in kept]
        assert {group.primary_port(n) for n in range(3)} == {new.port}


def test_two_of_three_are_enough_and_one_is_not(tmp_path: Path) -> None:
    """A minority says so to CKQUORUM, and leaves everything as it is."""
    with rig(tmp_path, down_after_ms=1000) as group:
        group.sentinels[0].kill()
        group.nodes[0].kill()
        new = group.wait_for_failover(group.nodes[0])
        wait_for(lambda: len({group.master(n)["config-epoch"] for n in (1, 2)}) == 1, "one epoch")
        epoch = group.master(2)["config-epoch"]  # 1, or more when votes were split
        group.sentinels[1].kill()
        new.kill()
        wait_for(lambda: "s_down" in group.master(2)["flags"], "the last sentinel to see the primary down")
        wait_for(lambda: _ckquorum(group, 2).startswith("NOQUORUM 1 usable Sentinels."), "the others to be missed")
        assert group.primary_port(2) == new.port
        assert group.master(2)["config-epoch"] == epoch


def _ckquorum(group: Rig, number: int) -> str:
    try:
        return str(group.sentinel_client(number).execute_command("SENTINEL", "CKQUORUM", NAME))
    except redis.ResponseError as error:
        return str(error)


@pytest.mark.parametrize(("ours", "genuine"), [(1, 2), (2, 1)])
def test_a_mixed_set_agrees(tmp_path: Path, ours: int, genuine: int) -> None:
    """Genuine sentinels know ours, count us, vote with us, and follow whoever wins, us or them."""
    with rig(tmp_path, ours=ours, genuine=genuine, down_after_ms=1000) as group:
        for number in range(3):
            assert _ckquorum(group, number) == "OK 3 usable Sentinels. Quorum and failover authorization can be reached"
        old = group.nodes[0]
        old.kill()
        new = group.wait_for_failover(old)
        wait_for(lambda: len({group.master(n)["config-epoch"] for n in range(3)}) == 1, "one epoch")
        (other,) = [n for n in group.nodes if n not in (old, new)]
        follow(group, other, new)


def test_nodes_that_ask_for_a_password(tmp_path: Path) -> None:
    """Sentinels log in with auth-pass, promote and reconfigure, and no log of theirs holds the password."""
    with rig(tmp_path, password="hunter2-hunter2") as group:
        group.nodes[0].kill()
        new = group.wait_for_failover(group.nodes[0])
        (other,) = [n for n in group.nodes[1:] if n is not new]
        follow(group, other, new)
        assert "hunter2" not in "".join(s.log.read_text() for s in group.sentinels)


def start_known_node(folder: Path, *directives: str) -> Server:
    """A node of ours that has the next id of the topology."""
    number = len(list(folder.glob("node-*"))) + 1
    return start_our_node(folder, "--node-id", f"{number:040x}", *directives)


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_our_nodes_are_promoted_and_told_of_the_topology(tmp_path: Path, how: signal.Signals) -> None:
    """Nodes of ours fail over as genuine ones do, and every one that lives gets the record of the new epoch."""
    with rig(tmp_path, topology=True, down_after_ms=2000, start_node=start_known_node) as group:
        old = group.nodes[0]
        old.process.send_signal(how)
        new = group.wait_for_failover(old)
        (other,) = [n for n in group.nodes if n not in (old, new)]
        follow(group, other, new)
        assert group.node_client(new).get("before") == "failover"
        told = [new, other]
        if how == signal.SIGSTOP:
            old.process.send_signal(signal.SIGCONT)
            follow(group, old, new)
            told.append(old)
        for node in told:
            wait_for(lambda node=node: node_epoch(node) == 2, f"{node.port} to know the new topology")


def node_epoch(node: Server) -> int:
    """The epoch of the topology that a node has."""
    return from_json(node.client(socket_timeout=1.0).execute_command("KVORUM", "TOPOLOGY", "GET")).epoch


def test_the_agents_word_and_the_topology(tmp_path: Path) -> None:
    """PROCESS-DEAD at all sentinels counts as evidence; the new record is published, kept, and the same everywhere."""
    with rig(tmp_path, topology=True, down_after_ms=120_000) as group:
        assert group.topology is not None
        old = group.nodes[0]
        published: list[bytes] = []
        listener = group.sentinels[1].client().pubsub()
        listener.subscribe("+topology")

        def listen() -> None:
            while (message := listener.get_message(timeout=30)) is not None:
                if message["type"] == "message":
                    published.append(message["data"])
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        old.kill()
        for number in range(3):
            answer = group.sentinel_client(number).execute_command("KVORUM", "PROCESS-DEAD", group.topology.nodes[0].id)
            assert answer == "OK"
        new = group.wait_for_failover(old)
        thread.join(30)
        records = {group.sentinels[n].client().execute_command("KVORUM", "TOPOLOGY", "GET", "cache") for n in range(3)}
        assert len(records) == 1
        assert records == set(published)
        (shard,) = from_json(records.pop()).shards
        assert shard.epoch == 2
        assert shard.primary == group.topology.nodes[group.nodes.index(new)].id
        with pytest.raises(redis.ResponseError, match="unknown node"):
            group.sentinel_client(0).execute_command("KVORUM", "PROCESS-DEAD", "f" * 40)
