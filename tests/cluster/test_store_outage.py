"""The store frozen or dead for many ttl: the lease stands on the members' promises (L9, INV-6)."""

import json
import os
import signal
import time

import pytest

import steps
from harness import read_file, wait_for
from workload import writers

TTL_S = 2.0


def _take_away(shared, how):
    if how == "frozen":
        shared.store.freeze()
    else:
        shared.store.stop(signal.SIGKILL)


def _give_back(shared, how):
    if how == "frozen":
        shared.store.thaw()
    else:
        shared.store.start()


def _promised(node, holder):
    """The promise to that node, as the giver's file has it: what its agent must not forget."""
    text = read_file(os.path.join(f"{node.data_dir}.holdfast", "memory.json"))
    memory = json.loads(text or "{}")
    return memory.get("promised_to") == holder.name and int(memory["promised_epoch"]) > 0


def _wait_promises(shared, primary):
    """The lease stands on promises: every other member has given one."""
    for node in steps.others(shared, primary):
        wait_for(lambda n=node: _promised(n, primary), f"the promise of {node.name}", 2 * TTL_S)


def _write_until(writer, end):
    wait_for(lambda: writer.failure or time.monotonic() >= end, "writes", end - time.monotonic() + 5)


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_store_away_for_ten_ttl_nothing_happens(shared, how):
    primary = steps.settle(shared)
    postmaster, timeline = primary.postmaster_pid(), primary.timeline()
    log = steps.LogMark(primary)
    with writers(shared, pinned=True) as writer:
        _take_away(shared, how)
        away = time.monotonic()
        log.wait("store_away", 2 * TTL_S)
        _wait_promises(shared, primary)
        _write_until(writer, away + 10 * TTL_S)
        assert primary.rest("/primary")[0] == 200
        assert steps.json_of(primary, "/patroni").get("failsafe_mode_is_active") is True
        _give_back(shared, how)
        wait_for(lambda: primary.rest("/cluster")[0] == 200, "an answer from the store")
        _write_until(writer, time.monotonic() + 2 * TTL_S)
    assert writer.failure is None, writer.failure
    assert writer.max_gap() < 1.0
    assert writer.missing(primary) == []
    assert (primary.postmaster_pid(), primary.timeline()) == (postmaster, timeline)
    assert shared.writable() == [primary]
    wait_for(lambda: "failsafe_mode_is_active" not in (primary.status() or {}), "the lease of the store")
    print(f"store {how} {10 * TTL_S:.0f} s: {writer.count()} rows, longest wait {writer.max_gap() * 1000:.0f} ms")


def test_agents_restarted_while_the_store_is_away_keep_their_promises(shared):
    primary = steps.settle(shared)
    replicas = steps.others(shared, primary)
    with writers(shared, pinned=True) as writer:
        shared.store.freeze()
        _wait_promises(shared, primary)
        for node in replicas:  # one after the other, then both together
            old = node.agent_pid()
            os.kill(old, signal.SIGKILL)
            wait_for(lambda n=node, o=old: n.agent_pid() not in (None, o), "a new agent", 5)
            assert _promised(node, primary)
        _write_until(writer, time.monotonic() + 2 * TTL_S)
        for node in shared.nodes:
            os.kill(node.agent_pid(), signal.SIGKILL)
        _write_until(writer, time.monotonic() + 2 * TTL_S)
        shared.store.thaw()
        _write_until(writer, time.monotonic() + 2 * TTL_S)
    assert writer.failure is None, writer.failure
    assert writer.max_gap() < 1.5
    assert writer.missing(primary) == []
    assert shared.writable() == [primary]


def test_a_promise_outlives_its_giver_and_the_one_it_was_given_to(shared):
    primary = steps.settle(shared)
    replicas = steps.others(shared, primary)
    with writers(shared) as writer:
        shared.store.freeze()
        _wait_promises(shared, primary)
        writer.wait_more(20)
        for node in replicas:
            os.kill(node.agent_pid(), signal.SIGKILL)
        primary.kill_all()
        killed = time.monotonic()
        shared.store.thaw()
        successor = steps.wait_leader(shared, 20, among=replicas)
        writer.wait_acked_by(successor)
        writer.wait_more(10)
        first = next(ack for ack in writer.acks if ack[3] == successor.pg_port)
        missing = writer.missing(successor)
    # The last promise was asked for at most ttl/4 (and a try) before the node died.
    assert first[2] - killed > TTL_S / 2
    assert writer.ports() == [primary.pg_port, successor.pg_port]
    assert all(killed - writer.acked_before(row) < 1.0 for row in missing)
    primary.start()
    shared.wait_streaming(successor, 2)


def test_a_member_lost_with_the_store_ends_the_writes_in_time(shared):
    primary = steps.settle(shared)
    lost, other = steps.others(shared, primary)
    timeline = primary.timeline()
    with writers(shared) as writer:
        shared.store.freeze()
        _wait_promises(shared, primary)
        writer.wait_more(100)  # on promises
        lost.kill_all()
        killed = time.monotonic()
        # Nobody can prove that the lost one has not taken over: no server may accept writes.
        wait_for(lambda: not shared.writable(), "the end of writes", 3 * TTL_S)
        last = writer.acks[-1][2]
        assert last - killed < TTL_S, f"{last - killed:.2f} s"
        _write_until(writer, time.monotonic() + 2 * TTL_S)
        assert writer.acks[-1][2] == last, "a write without a lease"
        assert shared.writable() == []
        shared.store.thaw()
        back = time.monotonic()
        leader = steps.wait_leader(shared, 20, among=[primary, other])
        writer.wait_acked_by(leader)
        writer.wait_more(10)
        first = next(ack for ack in writer.acks if ack[2] > last)
        print(f"writes ended {last - killed:.2f} s after the member's loss, again "
              f"{first[2] - back:.2f} s after the store's return")
        # An orderly stop: whoever leads now has everything.
        assert writer.missing(leader) == []
    assert leader is primary or leader.timeline() > timeline
    lost.start()
    shared.wait_streaming(leader, 2)


def test_failsafe_list_follows_the_members(shared):
    primary = steps.settle(shared)
    listed = steps.json_of(primary, "/failsafe")
    assert listed == {n.name: f"http://127.0.0.1:{n.rest_port}/patroni" for n in shared.nodes}
