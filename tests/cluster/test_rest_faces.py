"""What load balancers and tools see: every path on the leader and on replicas, before and after."""

import json
import os
import signal

import steps
from harness import kill_pids, wait_for

# path: (leader, replica)
CODES = {"/": (200, 503), "/patroni": (200, 200), "/primary": (200, 503), "/master": (200, 503),
         "/read-write": (200, 503), "/leader": (200, 503), "/replica": (503, 200),
         "/replica?lag=1MB": (503, 200), "/read-only": (200, 200), "/health": (200, 200),
         "/liveness": (200, 200), "/readiness": (200, 200), "/cluster": (200, 200),
         "/history": (200, 200), "/failsafe": (200, 200), "/config": (200, 200),
         "/standby-leader": (503, 503), "/synchronous": (503, 503), "/nonsense": (503, 503)}


def _codes(node):
    return {path: node.rest(path)[0] for path in CODES}


def _faces(shared, primary):
    for node in shared.nodes:
        want = {path: pair[0 if node is primary else 1] for path, pair in CODES.items()}
        wait_for(lambda n=node, w=want: _codes(n) == w, f"the codes of {node.name}", 10)


def test_codes_before_and_after_a_failover(shared):
    primary = steps.settle(shared)
    _faces(shared, primary)
    timeline = primary.timeline()
    before = steps.json_of(primary, "/history")
    primary.kill_all()
    successor = steps.wait_leader(shared, 20, among=steps.others(shared, primary))
    assert primary.rest("/primary")[0] is None
    cluster = wait_for(lambda: [c for c in [steps.json_of(successor, "/cluster")]
                                if any(m["role"] == "leader" and m["name"] == successor.name
                                       for m in c["members"])], "the new leader in /cluster")[0]
    assert cluster["scope"] == shared.scope
    primary.start()
    shared.wait_streaming(successor, 2)
    _faces(shared, successor)
    for node in shared.nodes:
        history = wait_for(lambda n=node: [h for h in [steps.json_of(n, "/history")]
                                           if len(h) == len(before) + 1], "the new row")[0]
        row = history[-1]
        assert row[0] == timeline and isinstance(row[1], int) and row[1] > 0
        assert row[2] == "no recovery target specified" and row[4] == successor.name
        assert row[3].startswith("20")


def test_documents(shared):
    primary = steps.settle(shared)
    sysid = primary.query("select system_identifier::text from pg_control_system()")[0][0]
    for node in shared.nodes:
        status = wait_for(lambda n=node: [s for s in [n.status()] if s["state"] == "running" and
                                          s["timeline"] == primary.timeline()],
                          "a running state on the primary's timeline")[0]
        assert status["server_version"] // 10000 == 15
        assert status["database_system_identifier"] == sysid
        assert status["patroni"]["scope"] == shared.scope and status["patroni"]["name"] == node.name
        assert isinstance(status["dcs_last_seen"], int) and status["dcs_last_seen"] > 1_600_000_000
        assert "cluster_unlocked" not in status and "pause" not in status
        if node is primary:
            assert status["role"] == "primary" and status["xlog"]["location"] > 0
            senders = wait_for(lambda n=node: [s for s in [n.status().get("replication", [])]
                                               if len(s) == 2], "both walsenders")[0]
            assert {s["application_name"] for s in senders} == {
                n.name for n in steps.others(shared, node)}
            for sender in senders:
                assert sender["state"] == "streaming" and sender["sync_state"] == "async"
                assert sender["client_addr"] == "127.0.0.1" and sender["sync_priority"] == 0
                assert sender["usename"] == node.query(
                    "select usename from pg_stat_replication limit 1")[0][0]
        else:
            assert status["role"] == "replica" and status["replication_state"] == "streaming"
            assert status["xlog"]["received_location"] > 0 and status["xlog"]["paused"] is False
    members = {m["name"]: m for m in steps.json_of(primary, "/cluster")["members"]}
    assert list(members) == sorted(members)
    for node in shared.nodes:
        member = members[node.name]
        assert (member["host"], member["port"]) == ("127.0.0.1", node.pg_port)
        assert member["api_url"] == f"http://127.0.0.1:{node.rest_port}/patroni"
        assert member["role"] == ("leader" if node is primary else "replica")
    assert steps.json_of(primary, "/config")["ttl"] == 2


def test_methods_of_load_balancers(shared):
    primary = steps.settle(shared)
    replica = steps.others(shared, primary)[0]
    for method in ("HEAD", "OPTIONS"):
        assert primary.rest("/", method)[0] == 200 and replica.rest("/", method)[0] == 503
        assert replica.rest("/replica", method) == (200, "")
    assert primary.rest("/primary", "BREW")[0] == 501
    assert primary.rest("/nonsense", "POST", "{}")[0] == 501
    assert primary.rest("/switchover", "POST", "{")[0] == 400


def test_a_hanging_server_is_told(shared):
    primary = steps.settle(shared)
    replica = steps.others(shared, primary)[0]
    hanging = replica.postgres_pids()
    kill_pids(hanging, signal.SIGSTOP)  # it runs and answers nobody
    try:
        wait_for(lambda: replica.rest("/replica")[0] == 503, "503 of a hanging replica", 15)
        assert replica.rest("/health")[0] == 503
        assert replica.rest("/liveness")[0] == 200  # the agent is well
        code, text = replica.rest("/patroni")
        assert code == 200 and "xlog" not in json.loads(text)
    finally:
        kill_pids(hanging, signal.SIGCONT)
    wait_for(lambda: replica.rest("/replica")[0] == 200, "200 again", 15)
    assert json.loads(replica.rest("/patroni")[1])["state"] == "running"


def test_a_crashed_replica_starts_again(shared):
    primary = steps.settle(shared)
    replica = steps.others(shared, primary)[0]
    postmaster = replica.postmaster_pid()
    os.kill(postmaster, signal.SIGKILL)
    wait_for(lambda: replica.postmaster_pid() not in (None, postmaster), "another postmaster", 15)
    shared.wait_streaming(primary, 2)
    wait_for(lambda: replica.rest("/replica")[0] == 200, "200 again", 15)
