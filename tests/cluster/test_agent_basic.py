"""Three nodes from nothing; a postmaster, a node, and a person's SIGTERM."""

import json
import os
import signal
import time

from harness import wait_for


def _ready(make_cluster):
    cluster = make_cluster()
    primary = cluster.wait_primary()
    cluster.wait_streaming(primary, 2)
    return cluster, primary


def _others(cluster, node):
    return [n for n in cluster.nodes if n is not node]


def _rows(node):
    return node.query("select count(*) from t")


def _fill(primary):
    assert primary.query("create table t (n int)") == []
    assert primary.query("insert into t select generate_series(1, 1000)") == []


def test_bootstrap_and_rest(make_cluster):
    cluster, primary = _ready(make_cluster)
    _fill(primary)
    for replica in _others(cluster, primary):
        wait_for(lambda r=replica: _rows(r) == [(1000,)], f"the rows on {replica.name}")
    wait_for(lambda: primary.rest("/primary")[0] == 200, "200 of /primary")
    assert primary.rest("/leader")[0] == 200
    assert primary.rest("/replica")[0] == 503
    assert primary.rest("/health")[0] == 200
    assert primary.rest("/liveness")[0] == 200
    for replica in _others(cluster, primary):
        wait_for(lambda r=replica: r.rest("/replica")[0] == 200, f"200 of {replica.name}/replica")
        assert replica.rest("/primary")[0] == 503
        wait_for(lambda r=replica: r.rest("/readiness")[0] == 200, f"{replica.name}/readiness")
    status = primary.status()
    assert status["role"] == "primary" and status["state"] == "running"
    assert status["timeline"] == 1 and status["patroni"]["scope"] == cluster.scope

    def listed():
        code, text = replica.rest("/cluster")
        members = json.loads(text)["members"] if code == 200 else []
        return {m["name"]: m["role"] for m in members
                if m["state"] in ("running", "streaming")}

    wait_for(lambda: listed() == {n.name: "leader" if n is primary else "replica"
                                  for n in cluster.nodes}, "all members in /cluster")
    assert len(cluster.writable()) == 1


def test_postmaster_killed_writes_again_on_the_same_node(make_cluster):
    cluster, primary = _ready(make_cluster)
    _fill(primary)
    old = primary.postmaster_pid()
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: primary.postmaster_pid() not in (None, old) and primary.is_writable(),
             "writes after the postmaster's death", timeout=10)
    assert _rows(primary) == [(1000,)]
    assert cluster.writable() == [primary]
    cluster.wait_streaming(primary, 2)


def test_node_killed_another_takes_over(make_cluster):
    cluster, primary = _ready(make_cluster)
    _fill(primary)
    for replica in _others(cluster, primary):
        wait_for(lambda r=replica: _rows(r) == [(1000,)], f"the rows on {replica.name}")
    primary.kill_all()
    began = time.monotonic()
    successor = cluster.wait_primary(timeout=15, among=_others(cluster, primary))
    took = time.monotonic() - began
    assert took < 10, f"{took:.1f} s at ttl 2 s"
    assert _rows(successor) == [(1000,)]
    cluster.wait_streaming(successor, 1)
    # The old primary comes back as a replica.
    assert successor.query("insert into t values (0)") == []
    primary.start()
    cluster.wait_streaming(successor, 2)
    wait_for(lambda: _rows(primary) == [(1001,)], "the rows on the old primary")
    assert cluster.writable() == [successor]


def test_sigterm_hands_over(make_cluster):
    cluster, primary = _ready(make_cluster)
    _fill(primary)
    assert primary.terminate() == 0
    assert primary.postgres_pids() == []
    successor = cluster.wait_primary(timeout=10, among=_others(cluster, primary))
    assert _rows(successor) == [(1000,)]
    cluster.wait_streaming(successor, 1)


def _write_for(connection, seconds):
    """Commits on one connection all the time; raises when it is lost."""
    deadline = time.monotonic() + seconds
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("insert into t values (1)")
            time.sleep(0.02)


def _undisturbed(cluster, primary, fault, seconds=4):
    """The fault is not felt by a client, and nobody else becomes primary. 4 s are twice the ttl."""
    connection = primary.connect()
    postmaster = primary.postmaster_pid()
    fault()
    _write_for(connection, seconds)
    connection.close()
    assert primary.postmaster_pid() == postmaster
    assert cluster.writable() == [primary]
    wait_for(lambda: primary.rest("/primary")[0] == 200, "200 of /primary")


def test_agent_killed_then_frozen_nothing_happens_to_clients(make_cluster):
    cluster, primary = _ready(make_cluster)
    _fill(primary)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        old = primary.agent_pid()
        _undisturbed(cluster, primary, lambda: os.kill(primary.agent_pid(), number))
        wait_for(lambda: primary.agent_pid() not in (None, old), "a new agent", timeout=5)


def test_guard_killed_then_frozen_nothing_happens_to_clients(make_cluster):
    cluster, primary = _ready(make_cluster)
    _fill(primary)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        old = primary.guard_pid()
        agent = primary.agent_pid()
        _undisturbed(cluster, primary, lambda: os.kill(primary.guard_pid(), number))
        wait_for(lambda: primary.guard_pid() not in (None, old), "a new guard", timeout=5)
        assert primary.agent_pid() == agent


def test_switchover_by_rest(make_cluster):
    cluster, primary = _ready(make_cluster)
    _fill(primary)
    candidate = _others(cluster, primary)[0]
    order = json.dumps({"leader": primary.name, "candidate": candidate.name})
    code, text = primary.rest("/switchover", "POST", order, timeout=30)
    assert (code, text) == (200, f'Successfully switched over to "{candidate.name}"')
    assert cluster.wait_primary(timeout=10) is candidate
    cluster.wait_streaming(candidate, 2)
    assert candidate.timeline() == 2
    assert _rows(candidate) == [(1000,)]


def test_store_away_is_no_write_gap(make_cluster):
    cluster, primary = _ready(make_cluster)
    _fill(primary)

    def listed():
        code, text = primary.rest("/failsafe")
        return code == 200 and len(json.loads(text)) == 3

    wait_for(listed, "the failsafe list of three")
    _undisturbed(cluster, primary, cluster.store.freeze, seconds=10)  # five ttl
    cluster.store.thaw()
    timeline = primary.timeline()
    wait_for(lambda: primary.rest("/cluster")[0] == 200, "an answer from the store")
    assert cluster.writable() == [primary] and primary.timeline() == timeline
