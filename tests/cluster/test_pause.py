"""Pause: the cluster is left alone until a person says otherwise (L7)."""

import json
import os
import signal
import time

import steps
from harness import wait_for
from workload import writers

TTL_S = 2.0


def _pause(shared):
    done = steps.ctl(shared, "pause", "--wait")
    assert done.returncode == 0, done
    assert "'pause' request sent, waiting until it is recognized by all nodes" in done.stdout
    assert done.stdout.endswith("Success: cluster management is paused\n"), done
    for node in shared.nodes:
        assert node.status()["pause"] is True


def _resume(shared):
    done = steps.ctl(shared, "resume", "--wait")
    assert done.returncode == 0 and done.stdout.endswith(
        "Success: cluster management is resumed\n"), done
    for node in shared.nodes:
        assert "pause" not in node.status()


def _for(seconds, holds, what):
    """The condition holds all the time."""
    end = time.monotonic() + seconds
    wait_for(lambda: not holds() or time.monotonic() > end, what, seconds + 5, step=0.1)
    assert time.monotonic() > end, f"not all the time: {what}"


def test_pause_and_resume_are_told_and_disturb_nobody(shared):
    primary = steps.settle(shared)
    postmaster = primary.postmaster_pid()
    with writers(shared, pinned=True) as writer:
        log = steps.LogMark(primary)
        _pause(shared)
        log.wait("disarmed epoch=[0-9]+ for_pause=1")
        assert " Maintenance mode: on\n" in steps.ctl(shared, "list").stdout
        assert steps.json_of(primary, "/cluster")["pause"] is True
        again = steps.ctl(shared, "pause")
        assert again.returncode == 1 and again.stderr == "Error: Cluster is already paused\n"
        assert primary.rest("/primary")[0] == 200
        writer.wait_more(20)
        shared.store.freeze()  # nothing times out
        end = time.monotonic() + 2 * TTL_S
        wait_for(lambda: writer.failure or time.monotonic() > end, "writes")
        shared.store.thaw()
        wait_for(lambda: primary.rest("/cluster")[0] == 200, "an answer from the store")
        log = steps.LogMark(primary)
        _resume(shared)
        log.wait("armed epoch=[0-9]+ ttl_ms=2000")
        again = steps.ctl(shared, "resume")
        assert again.returncode == 1 and again.stderr == "Error: Cluster is not paused\n"
        assert "Maintenance mode" not in steps.ctl(shared, "list").stdout
        writer.wait_more(20)
    assert writer.failure is None, writer.failure
    assert primary.postmaster_pid() == postmaster
    assert writer.missing(primary) == []


def test_a_killed_postmaster_stays_down_until_the_resume(shared):
    primary = steps.settle(shared)
    with writers(shared) as writer:
        _pause(shared)
        postmaster = primary.postmaster_pid()
        os.kill(postmaster, signal.SIGKILL)
        steps.wait_gone(postmaster)
        _for(2 * TTL_S, lambda: primary.postmaster_pid() is None and not shared.writable(),
             "nobody starts or takes over")
        _resume(shared)
        leader = steps.wait_leader(shared)
        writer.wait_acked_by(leader)
        writer.wait_more(20)
        missing = writer.missing(leader)
    assert missing == []
    steps.settle(shared)


def test_a_stopped_agent_leaves_its_server_running(shared):
    primary = steps.settle(shared)
    replica = steps.others(shared, primary)[0]
    with writers(shared, pinned=True) as writer:
        _pause(shared)
        before = {n.name: n.postmaster_pid() for n in shared.nodes}
        for node in (replica, primary):
            assert node.terminate() == 0
            assert node.guard_pid() is None and node.agent_pid() is None
            assert node.postmaster_pid() == before[node.name]
        _for(1.5 * TTL_S, lambda: writer.failure is None and shared.writable() == [primary],
             "the server without an agent accepts writes, and nobody else")
        for node in (replica, primary):
            node.start()
            wait_for(lambda n=node: n.status() and n.status()["state"] == "running",
                     f"{node.name} is watched again")
        _resume(shared)
        wait_for(lambda: primary.rest("/primary")[0] == 200, "200 of /primary")
        writer.wait_more(20)
        assert {n.name: n.postmaster_pid() for n in shared.nodes} == before
    assert writer.failure is None, writer.failure
    assert writer.missing(primary) == []
    assert steps.settle(shared) is primary


def test_no_failover_while_paused_and_a_person_decides(shared):
    primary = steps.settle(shared)
    candidate, third = steps.others(shared, primary)
    with writers(shared) as writer:
        _pause(shared)
        primary.kill_all()
        killed = time.monotonic()
        _for(3 * TTL_S, lambda: not shared.writable(), "nobody takes over")
        assert candidate.rest("/primary")[0] == 503 and candidate.rest("/replica")[0] == 200
        # A switchover needs the leader; whom it asks says so, and what to do.
        advice = f"holdfast ctl failover --candidate {candidate.name}"
        why = f"switchover is not possible: leader {primary.name} does not answer, and the cluster " \
              "is paused"
        names = {"leader": primary.name, "candidate": candidate.name}
        status, text = third.rest("/switchover", "POST", json.dumps(names), timeout=10)
        assert status == 412 and text.startswith(why) and text.endswith(advice), text
        done = steps.ctl(shared, "switchover", "--leader", primary.name, "--candidate",
                         candidate.name, "--force")
        assert done.returncode == 1 and done.stderr.startswith(f"Error: {why}"), done
        assert done.stderr.endswith(f"{advice}\n")
        done = steps.ctl(shared, "failover", "--force")
        assert done.returncode == 1 and done.stderr == \
            "Error: Failover could be performed only to a specific candidate\n", done
        # Whom and when: a person says it. The answer may say that it takes longer than a request
        # waits: the dead leader's key goes with its session.
        done = steps.ctl(shared, "failover", "--candidate", candidate.name, "--force")
        assert done.returncode == 0, done
        leader = steps.wait_leader(shared, 30)
        assert leader is candidate
        writer.wait_acked_by(candidate)
        missing = writer.missing(candidate)
        assert candidate.status()["pause"] is True  # still
    assert all(killed - writer.acked_before(row) < 1.0 for row in missing)
    done = steps.ctl(shared, "resume")
    assert done.returncode == 0, done
    primary.start()
    assert steps.settle(shared) is candidate
    assert json.loads(third.rest("/cluster")[1])["members"]
