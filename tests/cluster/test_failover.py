"""A postmaster, a node, a person's wish: who leads afterwards, what is lost, how long it takes."""

import json
import os
import signal
import time

import pytest

import steps
from harness import wait_for
from workload import writers

TTL_S = 2.0


def test_postmaster_killed_starts_in_place_and_loses_nothing(shared):
    primary = steps.settle(shared)
    old = primary.postmaster_pid()
    with writers(shared) as writer:
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: primary.postmaster_pid() not in (None, old), "a new postmaster", 10)
        writer.wait_more(50)
    assert writer.missing(primary) == []
    assert writer.ports() == [primary.pg_port]
    assert steps.wait_leader(shared) is primary
    assert writer.max_gap() < 5
    print(f"postmaster killed: write gap {writer.max_gap():.2f} s, {writer.count()} rows")
    shared.wait_streaming(primary, 2)


def _history(node):
    return steps.json_of(node, "/history")


def test_node_killed_another_leads_and_the_old_one_rejoins_by_rewind(shared):
    primary = steps.settle(shared)
    timeline = primary.timeline()
    with writers(shared) as writer:
        primary.kill_all()
        killed = time.monotonic()
        successor = steps.wait_leader(shared, 20, among=steps.others(shared, primary))
        writer.wait_acked_by(successor)
        writer.wait_more(50)
        # WAL that only the dead node has: what it acknowledged last and did not send.
        missing = writer.missing(successor)
    assert writer.ports() == [primary.pg_port, successor.pg_port]
    # Asynchronous: only what was acknowledged right before the end may be missing, and no row of the
    # successor's.
    assert all(killed - writer.acked_before(row) < 1.0 for row in missing)
    assert writer.max_gap() < TTL_S + 5
    print(f"node killed: write gap {writer.max_gap():.2f} s, {len(missing)} of {writer.count()} "
          "rows missing (asynchronous)")
    assert successor.timeline() == timeline + 1
    row = wait_for(lambda: [r for r in _history(successor) or [] if r[0] == timeline], "history")[0]
    assert row[4] == successor.name and "no recovery target specified" in row[2]

    log = steps.LogMark(primary)
    primary.start()
    shared.wait_streaming(successor, 2)
    assert writer.missing(primary) == missing
    assert shared.writable() == [successor]
    assert "reason=CLONE" not in log.text()


def _divergent(shared):
    """A primary that writes what nobody receives, then dies; its successor leads. -> old, new"""
    primary = steps.settle(shared)
    # Its walsenders stand still, so what it acknowledges now is on its own disk only.
    senders = [row[0] for row in primary.query("select pid from pg_stat_replication")]
    for pid in senders:
        steps.stop_pid(pid)
    assert primary.query("create table only_here as select generate_series(1, 5000) as n") == []
    primary.kill_all()
    successor = steps.wait_leader(shared, 20, among=steps.others(shared, primary))
    assert successor.query("select 1 from pg_class where relname = 'only_here'") == []
    return primary, successor


def test_divergent_wal_is_set_aside_before_the_rewind(shared):
    primary, successor = _divergent(shared)
    fork = wait_for(lambda: _history(successor), "history")[-1]
    log = steps.LogMark(primary)
    primary.start()
    shared.wait_streaming(successor, 2)
    assert primary.query("select 1 from pg_class where relname = 'only_here'") == []
    assert "running pg_rewind" in log.text()
    log.wait("postgres_wal_set_aside")

    sets = os.path.join(f"{primary.data_dir}.holdfast", "wal-set-aside")
    newest = max((os.path.join(sets, d) for d in os.listdir(sets)), key=os.path.getmtime)
    with open(os.path.join(newest, "report.txt"), encoding="utf-8") as file:
        report = dict(line.rstrip("\n").split(": ", 1) for line in file)
    assert report["member"] == primary.name and report["source"] == successor.name
    assert int(report["local_timeline"]) == fork[0]
    high, low = (int(part, 16) for part in report["fork_lsn"].split("/"))
    assert (high << 32) + low == fork[1]
    assert report["complete"] == "yes" and int(report["transactions"].split()[0]) >= 1
    segments = [f for f in os.listdir(newest) if len(f) == 24]
    assert len(segments) == int(report["segments"]) >= 1
    assert all(int(name[:8], 16) == fork[0] for name in segments)
    assert os.stat(newest).st_mode & 0o077 == 0  # row contents: nobody else's business


@pytest.mark.parametrize("how", ["ctl", "rest"])
def test_planned_switchover_loses_nothing(shared, how):
    primary = steps.settle(shared)
    candidate = steps.others(shared, primary)[1]
    with writers(shared) as writer:
        if how == "ctl":
            done = steps.ctl(shared, "switchover", "--force", "--leader", primary.name,
                             "--candidate", candidate.name)
            assert done.returncode == 0, done.stderr
            assert f'Successfully switched over to "{candidate.name}"' in done.stdout
        else:
            order = json.dumps({"leader": primary.name, "candidate": candidate.name})
            answer = primary.rest("/switchover", "POST", order, timeout=30)
            assert answer == (200, f'Successfully switched over to "{candidate.name}"')
        writer.wait_acked_by(candidate)
        writer.wait_more(50)
        missing = writer.missing(candidate)
    assert missing == []
    assert writer.ports() == [primary.pg_port, candidate.pg_port]
    assert writer.max_gap() < 4
    print(f"switchover by {how}: write gap {writer.max_gap():.2f} s, {writer.count()} rows")
    assert steps.wait_leader(shared) is candidate
    shared.wait_streaming(candidate, 2)
    wait_for(lambda: writer.missing(primary) == [], "all rows on the old leader")
    assert steps.json_of(candidate, "/cluster")["members"]


def test_switchover_without_a_candidate_takes_a_fit_one(shared):
    primary = steps.settle(shared)
    with writers(shared) as writer:
        done = steps.ctl(shared, "switchover", "--force")
        assert done.returncode == 0 and "Successfully switched over" in done.stdout, done
        successor = steps.wait_leader(shared, among=steps.others(shared, primary))
        writer.wait_acked_by(successor)
        missing = writer.missing(successor)
    assert missing == [] and writer.ports() == [primary.pg_port, successor.pg_port]
    shared.wait_streaming(successor, 2)


def test_switchover_to_an_unfit_candidate_is_refused(shared):
    primary = steps.settle(shared)
    candidate = steps.others(shared, primary)[0]
    postmaster = primary.postmaster_pid()

    def ask(body):
        return primary.rest("/switchover", "POST", json.dumps(body), timeout=40)

    with writers(shared, pinned=True) as writer:
        assert ask({"leader": primary.name, "candidate": "nobody"}) == (
            412, "candidate does not exists")
        assert ask({"leader": candidate.name}) == (412, "leader name does not match")
        assert ask({"leader": primary.name, "candidate": primary.name}) == (
            400, "Switchover target and source are the same")
        candidate.kill_all()
        code, text = ask({"leader": primary.name, "candidate": candidate.name})
        assert code in (412, 503), text
        assert text in ("switchover is not possible: no good candidates have been found",
                        "candidate does not exists", "Switchover failed")
        writer.wait_more(50)
    assert writer.failure is None
    assert primary.postmaster_pid() == postmaster and steps.wait_leader(shared) is primary


def test_switchover_to_a_lagging_candidate_is_refused_before_the_stop(shared):
    primary = steps.settle(shared)
    candidate = steps.others(shared, primary)[0]
    postmaster = primary.postmaster_pid()
    # Its walreceiver stands still: it answers, but does not receive what is written now.
    receiver = candidate.query("select pid from pg_stat_wal_receiver")[0][0]
    steps.stop_pid(receiver)
    try:
        assert primary.query("create table filler as select repeat(md5(i::text), 30) as t "
                             "from generate_series(1, 5000) i") == []
        order = json.dumps({"leader": primary.name, "candidate": candidate.name})
        code, text = primary.rest("/switchover", "POST", order, timeout=40)
        assert (code, text) == (503, "Switchover failed")
        assert primary.postmaster_pid() == postmaster and primary.is_writable()
    finally:
        os.kill(receiver, signal.SIGCONT)
    assert steps.settle(shared) is primary


def test_sigterm_of_the_leader_hands_over(shared):
    primary = steps.settle(shared)
    with writers(shared) as writer:
        assert primary.terminate() == 0
        assert primary.pids() == []
        successor = steps.wait_leader(shared, 10, among=steps.others(shared, primary))
        writer.wait_acked_by(successor)
        missing = writer.missing(successor)
    assert missing == []
    assert writer.max_gap() < 5
    print(f"SIGTERM of the leader: write gap {writer.max_gap():.2f} s")
    primary.start()
    shared.wait_streaming(successor, 2)


def test_sigterm_of_all_leaves_nothing_running(shared):
    primary = steps.settle(shared)
    everything = sorted(pid for n in shared.nodes for pid in n.pids())
    assert everything
    for node in steps.others(shared, primary) + [primary]:
        assert node.terminate() == 0, node.name
    assert [n.pids() for n in shared.nodes] == [[], [], []]
    for pid in everything:
        steps.wait_gone(pid)
    for node in shared.nodes:
        assert not os.path.exists(os.path.join(node.data_dir, "postmaster.pid"))
    # And it all comes back, with the rows.
    for node in shared.nodes:
        node.start()
    again = steps.settle(shared)
    assert again.query("select count(*) > 0 from acked") == [(True,)]
