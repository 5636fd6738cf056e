"""Agent or guard killed, frozen, upgraded under a client that writes on one connection all the time.

None of it is the client's business: no failed write, the same postmaster, the same leader (INV-6).
"""

import os
import re
import shutil
import signal

import pytest

import steps
from harness import kill_pids, wait_for
from workload import writers

TTL_S = 2.0
AFTER_S = 2 * TTL_S + 0.5


class Undisturbed:
    """The block's faults are not felt by a client during it and for two ttl after it."""

    def __init__(self, cluster, primary):
        self.cluster, self.primary = cluster, primary

    def __enter__(self):
        self.before = self._state()
        self.writer = writers(self.cluster, pinned=True)
        return self.writer.__enter__()

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                until = self.writer.acks[-1][2] + AFTER_S
                wait_for(lambda: self.writer.failure or self.writer.acks[-1][2] > until,
                         f"{AFTER_S} s of writes", 30)
        finally:
            self.writer.stop()
        if kind is None:
            assert self.writer.failure is None, self.writer.failure
            assert self.writer.missing(self.primary) == []
            assert self._state() == self.before
            assert self.cluster.writable() == [self.primary]
            assert self.writer.max_gap() < 1.0
            print(f"{self.writer.count()} rows, longest wait {self.writer.max_gap() * 1000:.0f} ms")

    def _state(self):
        return self.primary.postmaster_pid(), self.primary.timeline(), self.primary.name


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_agent_of_the_leader(shared, number):
    primary = steps.settle(shared)
    old, guard = primary.agent_pid(), primary.guard_pid()
    with Undisturbed(shared, primary):
        os.kill(old, number)
        wait_for(lambda: primary.agent_pid() not in (None, old), "a new agent", 5)
    steps.wait_gone(old)  # for good, also the frozen one
    assert primary.guard_pid() == guard
    wait_for(lambda: primary.rest("/primary")[0] == 200, "200 of /primary")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_guard_of_the_leader(shared, number):
    primary = steps.settle(shared)
    old, agent = primary.guard_pid(), primary.agent_pid()
    with Undisturbed(shared, primary):
        os.kill(old, number)
        wait_for(lambda: primary.guard_pid() not in (None, old), "a new guard", 5)
    steps.wait_gone(old)
    assert primary.agent_pid() == agent
    wait_for(lambda: primary.rest("/primary")[0] == 200, "200 of /primary")


def test_agents_of_everybody_killed_at_once(shared):
    primary = steps.settle(shared)
    old = {n.name: n.agent_pid() for n in shared.nodes}
    with Undisturbed(shared, primary):
        for pid in old.values():
            os.kill(pid, signal.SIGKILL)
        for node in shared.nodes:
            wait_for(lambda n=node: n.agent_pid() not in (None, old[n.name]), "a new agent", 5)
    steps.settle(shared)


def test_agent_killed_then_its_guard_while_the_new_agent_starts(shared):
    primary = steps.settle(shared)
    old = primary.agent_pid()
    with Undisturbed(shared, primary):
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: primary.agent_pid() not in (None, old), "a new agent", 5)
        wait_for(lambda: primary.rest("/primary")[0] == 200, "the new agent leads", 5)
        guard = primary.guard_pid()
        os.kill(guard, signal.SIGKILL)
        wait_for(lambda: primary.guard_pid() not in (None, guard), "a new guard", 5)


def test_guard_and_agent_killed_and_started_again_as_by_systemd(shared):
    primary = steps.settle(shared)
    postmaster = primary.postmaster_pid()
    with writers(shared) as writer:
        both = [primary.guard_pid(), primary.agent_pid()]
        for pid in both:  # neither sees the other die
            steps.stop_pid(pid)
        kill_pids(both, signal.SIGKILL)
        primary.process.wait()
        primary.start()  # a fresh guard: it ends what runs without a lease
        steps.wait_gone(postmaster)
        leader = steps.wait_leader(shared, 20)
        writer.wait_acked_by(leader)
        writer.wait_more(20)
        missing = writer.missing(leader)
    # A server without a guard is ended; whoever leads then, nothing acknowledged is gone: the old
    # one has it all, and a successor received it while the old one could still write.
    assert missing == []
    assert len(writer.ports()) <= 2
    steps.settle(shared)


# ---- upgrade ----

def _another_version(path, old_text, new_text):
    """The same executable with another version text, put in its place as a package manager does."""
    assert len(old_text) == len(new_text)
    with open(path, "rb") as file:
        old = file.read()
    new, count = re.subn(rb"(?<![0-9.])" + re.escape(old_text.encode()) + rb"(?=[\0 \n])",
                         new_text.encode(), old)
    assert count > 0
    with open(path + ".new", "wb") as file:
        file.write(new)
    shutil.copymode(path, path + ".new")
    os.rename(path + ".new", path)


def test_upgrade_that_cannot_work_is_refused(shared):
    primary = steps.settle(shared)
    guard, agent = primary.guard_pid(), primary.agent_pid()
    kept = shared.holdfast + ".kept"
    os.link(shared.holdfast, kept)
    with open(shared.holdfast + ".new", "wb") as file:
        file.write(b"#!/bin/false\n")
    os.chmod(shared.holdfast + ".new", 0o755)
    log = steps.LogMark(primary)
    os.rename(shared.holdfast + ".new", shared.holdfast)
    try:
        with Undisturbed(shared, primary):
            os.kill(guard, signal.SIGUSR2)
            log.wait("upgrade_refused.*the new agent does not run here")
    finally:
        os.rename(kept, shared.holdfast)
    assert primary.guard_pid() == guard and os.path.exists(f"/proc/{agent}")
    steps.settle(shared)


def test_upgrade_under_running_servers(shared):
    """The last test of this file: it changes the executables."""
    primary = steps.settle(shared)
    before = steps.run(shared, "version").stdout.split()[1]
    after = "9.8.7"
    guard_path = os.path.join(os.path.dirname(shared.holdfast), "holdfast-guard")
    guards = {n.name: n.guard_pid() for n in shared.nodes}
    postmasters = {n.name: n.postmaster_pid() for n in shared.nodes}
    for path in (shared.holdfast, guard_path):
        _another_version(path, before, after)
    assert steps.run(shared, "version").stdout == f"holdfast {after}\n"
    with Undisturbed(shared, primary) as writer:
        for node in steps.others(shared, primary) + [primary]:
            log = steps.LogMark(node)
            os.kill(guards[node.name], signal.SIGUSR2)
            log.wait(f"guard_upgraded.*version={after}")
            log.wait(f"start name={node.name} version={after}")
            writer.wait_more(20)
    assert {n.name: n.guard_pid() for n in shared.nodes} == guards  # the same process, re-executed
    assert {n.name: n.postmaster_pid() for n in shared.nodes} == postmasters
    # The upgraded ones can do everything.
    steps.settle(shared)
    candidate = steps.others(shared, primary)[0]
    done = steps.ctl(shared, "switchover", "--force", "--candidate", candidate.name)
    assert "Successfully switched over" in done.stdout, done
    assert steps.settle(shared) is candidate
