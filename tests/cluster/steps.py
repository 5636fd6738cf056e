"""What the tests of a running cluster share: bringing it into order, asking, ordering."""

import json
import os
import re
import signal
import subprocess

from harness import is_alive, kill_pids, read_file, wait_for
import workload


def settle(cluster, timeout=60):
    """Everything runs: one leader, everybody else streams, the failsafe list names all. -> the leader

    Called at the beginning of every test of a shared cluster, whatever the one before left behind.
    """
    if cluster.store.process is None or cluster.store.process.popen.poll() is not None:
        cluster.store.start()
    cluster.store.thaw()
    for node in cluster.nodes:
        ended = node.process is None or node.process.popen.poll() is not None
        if ended and node.guard_pid() is None and node.agent_pid() is None:
            node.start()
        kill_pids(node.pids(), signal.SIGCONT)
    if any((node.status() or {}).get("pause") for node in cluster.nodes):
        ctl(cluster, "resume", "--wait")
    primary = wait_leader(cluster, timeout)
    cluster.wait_streaming(primary, len(cluster.nodes) - 1, timeout)
    names = {n.name for n in cluster.nodes}
    wait_for(lambda: set(json_of(primary, "/failsafe") or {}) == names, "the failsafe list of all",
             timeout)
    workload.create_table(primary)
    wait_caught_up(cluster, primary)
    return primary


def wait_leader(cluster, timeout=30, among=None):
    """The one writable server whose REST calls itself the primary."""
    def one():
        found = cluster.writable()
        good = (len(found) == 1 and (among is None or found[0] in among) and
                found[0].rest("/primary")[0] == 200)
        return found[0] if good else None
    return wait_for(one, "one leader", timeout)


def wait_caught_up(cluster, primary, timeout=30):
    """Every other node has replayed what the primary has written until now."""
    lsn = wait_for(lambda: primary.query("select pg_current_wal_lsn()"), "the primary's position")[0][0]
    for node in others(cluster, primary):
        wait_for(lambda n=node: n.query(
            f"select 1 where pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn") == [(1,)],
            f"{node.name} replays up to {lsn}", timeout)


def others(cluster, *nodes):
    return [n for n in cluster.nodes if n not in nodes]


def json_of(node, path):
    code, text = node.rest(path)
    return json.loads(text) if code == 200 else None


def log_text(node):
    return read_file(node.log).decode(errors="replace")


class LogMark:
    """What a node logs from now on."""

    def __init__(self, node):
        self.path = node.log
        self.start = os.path.getsize(node.log) if os.path.exists(node.log) else 0

    def text(self):
        return read_file(self.path)[self.start:].decode(errors="replace")

    def wait(self, pattern, timeout=20):
        return wait_for(lambda: re.search(pattern, self.text()), f"{pattern} in {self.path}",
                        timeout)


def run(cluster, *arguments, stdin="", timeout=60, **environment):
    """A holdfast command as the cluster's user. -> CompletedProcess with text"""
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": cluster.dir, "TZ": "UTC"}
    env.update(environment)
    return subprocess.run([cluster.holdfast, *arguments], input=stdin, capture_output=True,
                          text=True, timeout=timeout, env=env, cwd=cluster.dir, check=False,
                          **cluster.user_options())


def run_program(cluster, argv, timeout=60):
    """Any program as the cluster's user; it has to succeed. -> its output"""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, cwd=cluster.dir,
                          check=False, **cluster.user_options())
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def ctl(cluster, *arguments, **options):
    config = ("-c", cluster.nodes[0].config)
    return run(cluster, "ctl", *config, *arguments, **options)


def stop_pid(pid):
    """SIGSTOP, and the process is seen stopped."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: read_file(f"/proc/{pid}/stat").rsplit(b") ", 1)[1][:1] == b"T",
             f"{pid} is stopped")


def wait_gone(pid, timeout=10):
    wait_for(lambda: not is_alive(pid), f"the end of {pid}", timeout)
