"""A cluster on Consul: what every store's cluster can do, and what Consul alone can do to it."""

import json
import os
import signal
import time

import pytest

import steps
from consul import Consul
from harness import wait_for
# The same tests as on the local store: frozen and killed for ten ttl, agents and members lost meanwhile.
from test_store_outage import (  # noqa: F401  pylint: disable=unused-import
    test_a_member_lost_with_the_store_ends_the_writes_in_time,
    test_agents_restarted_while_the_store_is_away_keep_their_promises,
    test_store_away_for_ten_ttl_nothing_happens,
)
from workload import writers

STORE = Consul
TTL_S = 2.0


def test_the_keys_are_those_of_patroni(shared):
    primary = steps.settle(shared)
    leader = shared.store.key("leader")
    assert leader["Session"] and json.loads(f'"{primary.name}"') == primary.name
    status, names = shared.store.ask(f"/v1/kv/service/{shared.scope}/?keys")
    assert status == 200
    have = {name.rpartition(f"{shared.scope}/")[2] for name in names}
    assert {"leader", "lease", "initialize", "config", "status", "failsafe"} <= have
    assert {f"members/{n.name}" for n in shared.nodes} <= have
    done = steps.run(shared, "ctl", "-d", f"consul://127.0.0.1:{shared.store.servers[0].http_port}",
                     "list", shared.scope)
    assert done.returncode == 0 and f"| {primary.name} " in done.stdout, done.stdout + done.stderr


def test_a_switchover(shared):
    primary = steps.settle(shared)
    successor = steps.others(shared, primary)[0]
    with writers(shared) as writer:
        writer.wait_more(20)
        steps.ctl(shared, "switchover", "--candidate", successor.name, "--force")
        assert steps.wait_leader(shared, 20) is successor
        writer.wait_acked_by(successor)
        writer.wait_more(20)
        assert writer.missing(successor) == []
    wait_for(lambda: shared.store.key("leader") is not None, "the leader's key")


def test_a_node_killed(shared):
    primary = steps.settle(shared)
    with writers(shared) as writer:
        writer.wait_more(20)
        primary.kill_all()
        killed = time.monotonic()
        successor = steps.wait_leader(shared, 20, among=steps.others(shared, primary))
        writer.wait_acked_by(successor)
        first = next(ack for ack in writer.acks if ack[3] == successor.pg_port)
        writer.wait_more(20)
        print(f"node killed on Consul: writes again after {first[2] - killed:.2f} s")
    primary.start()
    shared.wait_streaming(successor, 2)


def _nothing_happens(shared, what, wait_again):
    """What is done to the store ends no write and moves no primary; then the store is whole again."""
    primary = steps.settle(shared)
    postmaster, timeline = primary.postmaster_pid(), primary.timeline()
    with writers(shared, pinned=True) as writer:
        writer.wait_more(20)
        what(primary)
        end = time.monotonic() + 3 * TTL_S
        wait_for(lambda: writer.failure or time.monotonic() >= end, "writes", 4 * TTL_S)
        wait_for(lambda: wait_again(primary), "the keys again")
        writer.wait_more(20)
    assert writer.failure is None, writer.failure
    assert writer.missing(primary) == []
    assert (primary.postmaster_pid(), primary.timeline()) == (postmaster, timeline)
    assert shared.writable() == [primary]


def _keys_are_whole(shared, primary):
    leader = shared.store.key("leader")
    return (leader is not None and leader.get("Session") and shared.store.key("lease") and
            all(shared.store.key(f"members/{n.name}") for n in shared.nodes) and
            primary.rest("/primary")[0] == 200)


def test_every_session_destroyed_by_hand(shared):
    def destroy(_):
        status, sessions = shared.store.ask("/v1/session/list")
        assert status == 200 and len(sessions) >= 3
        for session in sessions:
            assert shared.store.ask(f"/v1/session/destroy/{session['ID']}", "PUT")[0] == 200
    _nothing_happens(shared, destroy, lambda primary: _keys_are_whole(shared, primary))


def test_the_prefix_deleted(shared):
    def delete(_):
        assert shared.store.ask(f"/v1/kv/service/{shared.scope}/?recurse", "DELETE")[0] == 200
    _nothing_happens(shared, delete, lambda primary: _keys_are_whole(shared, primary))


def test_the_servers_data_wiped(shared):
    def wipe(_):
        shared.store.stop(signal.SIGKILL)
        for server in shared.store.servers:
            server.wipe()
        shared.store.start()
    _nothing_happens(shared, wipe, lambda primary: _keys_are_whole(shared, primary))


def test_a_snapshot_restored(shared):
    store = shared.store
    primary = steps.settle(shared)
    path = os.path.join(shared.dir, "snapshot")
    server = f"http://127.0.0.1:{store.servers[0].http_port}"
    steps.run_program(shared, ["consul", "snapshot", "save", f"-http-addr={server}", path])

    def restore(_):
        lease = store.key("lease")
        wait_for(lambda: store.key("lease")["ModifyIndex"] > lease["ModifyIndex"], "a renewal")
        steps.run_program(shared, ["consul", "snapshot", "restore", f"-http-addr={server}", path])
    del primary
    _nothing_happens(shared, restore, lambda primary: _keys_are_whole(shared, primary))


def test_the_node_deregistered(shared):
    """Until Consul has registered its node anew (by itself every minute) it makes no sessions."""
    def deregister(_):
        body = json.dumps({"Node": "c0"})
        assert shared.store.ask("/v1/catalog/deregister", "PUT", body)[0] == 200

    def whole(primary):
        if not shared.store.ask("/v1/catalog/node/c0")[1]:
            assert shared.store.key("leader") is None and shared.store.key("lease") is not None
            body = json.dumps({"Node": "c0", "Address": "127.0.0.1"})
            assert shared.store.ask("/v1/catalog/register", "PUT", body)[0] == 200
        return _keys_are_whole(shared, primary)

    log = steps.LogMark(steps.settle(shared))
    _nothing_happens(shared, deregister, whole)
    log.wait("consul_session .*Missing node registration")


@pytest.mark.parametrize("order", ["leave", "restart"])
def test_the_servers_own_leaving(shared, order):
    def leave(_):
        server = shared.store.servers[0]
        if order == "leave":
            shared.store.ask("/v1/agent/leave", "PUT")
            server.process.wait()
        else:
            server.stop(signal.SIGTERM)
        shared.store.start()
    _nothing_happens(shared, leave, lambda primary: _keys_are_whole(shared, primary))
