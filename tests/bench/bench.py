#!/usr/bin/python3
"""Failover figures of a real cluster: three nodes in network namespaces, clients in a fourth.

usage: tests/bench/bench.py [--build DIR] [--only CASE[,CASE...]] [--runs N] [--ttl 2s]
                            [--json FILE] [--pace MS] [--keep]

Needs root (namespaces) and nothing else of its machine: no port, no address, no running server. The
local store's unix socket works across network namespaces, so all three nodes share one. The clients
are those of `holdfast drill`: four writers, one row a commit, one multi-host string, reconnecting every
10 to 20 ms, and a probe of each node every 50 ms. Write gap: the longest time without an acknowledged
commit on any of them from the last one before the fault on; "clients": the same without the probes, so
with libpq's own wait for a machine that does not answer.
"""

import argparse
import ctypes
import json
import os
import pathlib
import pwd
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

NODES = ("n1", "n2", "n3")
NET = "10.203.97"
PASSWORD = "bench"
WHOLE_S = 120
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET, PR_SET_CHILD_SUBREAPER = 0x40000000, 36


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def until(what, seconds, condition, pause=0.02):
    """Polls; its value once true."""
    deadline = time.monotonic() + seconds
    while True:
        reap()
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(pause)


def reap():
    """Orphans of killed nodes come to us: a slow init would keep their zombies for seconds."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] > 0:
            pass
    except ChildProcessError:
        pass


class Node:
    def __init__(self, bench, number):
        self.bench, self.name = bench, NODES[number]
        self.address = f"{NET}.{number + 1}"
        self.netns = f"{bench.prefix}-{self.name}"
        self.veth = f"hfb{os.getpid() % 10000}v{number}"
        self.dir = bench.dir / self.name
        self.config = bench.dir / f"{self.name}.yml"

    def make_network(self):
        inner = self.veth + "i"
        run("ip", "netns", "add", self.netns)
        run("ip", "link", "add", self.veth, "type", "veth", "peer", "name", inner)
        run("ip", "link", "set", inner, "netns", self.netns)
        run("ip", "link", "set", self.veth, "master", "br0")
        run("ip", "link", "set", self.veth, "up")
        run("ip", "-n", self.netns, "addr", "add", f"{self.address}/24", "dev", inner)
        run("ip", "-n", self.netns, "link", "set", inner, "up")
        run("ip", "-n", self.netns, "link", "set", "lo", "up")
        self.inode = os.stat(f"/var/run/netns/{self.netns}").st_ino

    def write_config(self):
        ttl = self.bench.ttl_ms
        self.dir.mkdir()
        self.config.write_text(f"""\
scope: bench
name: {self.name}
local: {{path: {self.bench.dir}/store.sock}}
restapi: {{listen: '{self.address}:8008', connect_address: '{self.address}:8008'}}
bootstrap:
  dcs:
    ttl: {ttl}ms
    loop_wait: {ttl // 5}ms
    retry_timeout: {2 * ttl // 5}ms
    postgresql: {{use_pg_rewind: true}}
  initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}, data-checksums]
postgresql:
  listen: '{self.address}:5432'
  connect_address: '{self.address}:5432'
  data_dir: {self.dir}/data
  bin_dir: {self.bench.pg_bin}
  pgpass: {self.dir}/pgpass
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
  parameters: {{unix_socket_directories: {self.dir}, dynamic_shared_memory_type: mmap}}
  pg_hba: ['local all all trust', 'host all all {NET}.0/24 trust',
           'host replication all {NET}.0/24 trust']
  authentication:
    superuser: {{username: postgres, password: {PASSWORD}}}
    replication: {{username: replicator, password: {PASSWORD}}}
""")
        user = pwd.getpwnam("postgres")
        for path in (self.dir, self.config):
            os.chown(path, user.pw_uid, user.pw_gid)

    def start(self):
        with open(self.bench.dir / f"{self.name}.log", "ab") as log:
            subprocess.Popen(["ip", "netns", "exec", self.netns, self.bench.program, "agent",
                              str(self.config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             start_new_session=True)

    def processes(self):
        """pid: command line, of everything that runs in the node's network."""
        found = {}
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.stat(f"/proc/{entry}/ns/net").st_ino == self.inode:
                    words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                    if words[0]:
                        found[int(entry)] = [word.decode(errors="replace") for word in words]
            except OSError:
                continue
        return found

    def agent(self):
        for pid, words in self.processes().items():
            if "agent-proper" in words and not words[0].endswith("holdfast-guard"):
                return pid
        return 0

    def guard(self):
        guards = {pid for pid, words in self.processes().items()
                  if words[0].endswith("holdfast-guard")}
        for pid in guards:
            parent = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[1])
            if parent not in guards:
                return pid
        return 0

    def postmaster(self):
        try:
            return int((self.dir / "data/postmaster.pid").read_text().split("\n")[0])
        except (OSError, ValueError):
            return 0

    def kill(self):
        """As when the machine is lost: silent first, then dead."""
        run("ip", "link", "set", self.veth, "down")
        while pids := self.processes():
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        pass
            reap()

    def plug(self):
        run("ip", "link", "set", self.veth, "up")

    def ask(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}:8008/patroni", timeout=0.5) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return {}


class Drill:
    """The clients, as one process that takes orders line by line."""

    def __init__(self, bench):
        hosts = ",".join(node.address for node in bench.nodes)
        dsn = (f"host={hosts} port=5432 user=postgres dbname=postgres "
               "target_session_attrs=read-write connect_timeout=2 tcp_user_timeout=2000 "
               "keepalives_idle=1 keepalives_interval=1")
        words = [bench.program, "drill", "--dsn", dsn, "--yes", "--commands", "--pace",
                 str(bench.pace_ms)]
        for node in bench.nodes:
            words += ["--node", f"{node.name}={node.address}:5432"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def order(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Bench:
    def __init__(self, args):
        self.pid, self.prefix = os.getpid(), f"hfbench{os.getpid()}"
        self.ttl_ms = round(float(args.ttl.removesuffix("s")) * 1000)
        self.pace_ms, self.pg_bin = args.pace, args.pg_bin
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir="/var/tmp"))
        user = pwd.getpwnam("postgres")
        os.chown(self.dir, user.pw_uid, user.pw_gid)
        (self.dir / "bin").mkdir(mode=0o755)
        for name, inner in (("holdfast", "main"), ("holdfast-guard", "guard")):
            built = [pathlib.Path(args.build) / name, pathlib.Path(args.build) / "src" / inner / name]
            shutil.copy(next(path for path in built if path.is_file()), self.dir / "bin" / name)
        os.chmod(self.dir / "bin", 0o755)
        self.program = str(self.dir / "bin/holdfast")
        self.store = None
        self.nodes = [Node(self, number) for number in range(len(NODES))]

    def up(self):
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        run("ip", "netns", "add", f"{self.prefix}-c")
        with open(f"/var/run/netns/{self.prefix}-c", "rb") as netns:
            if LIBC.setns(netns.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        run("ip", "link", "add", "br0", "type", "bridge")
        run("ip", "addr", "add", f"{NET}.100/24", "dev", "br0")
        run("ip", "link", "set", "br0", "up")
        run("ip", "link", "set", "lo", "up")
        self.start_store()
        for node in self.nodes:
            node.make_network()
            node.write_config()
        self.nodes[0].start()
        until("a primary", WHOLE_S, self.leader)
        for node in self.nodes[1:]:
            node.start()
        self.await_whole()

    def down(self):
        for node in self.nodes:
            if hasattr(node, "inode"):
                node.kill()
        if self.store is not None:
            self.store.kill()
            self.store.wait()
        for name in [node.netns for node in self.nodes] + [f"{self.prefix}-c"]:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        self.forget_shared_memory()

    def forget_shared_memory(self):
        uid = str(pwd.getpwnam("postgres").pw_uid)
        inodes = {str((node.dir / "data").stat().st_ino) for node in self.nodes
                  if (node.dir / "data").exists()}
        for line in pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
            key, shmid, _, _, _, _, attached, owner = line.split()[:8]
            if key in inodes and owner == uid and attached == "0":
                subprocess.run(["ipcrm", "-m", shmid], check=False)

    def start_store(self):
        with open(self.dir / "store.log", "ab") as log:
            self.store = subprocess.Popen(
                ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", self.program,
                 "store", "--dir", f"{self.dir}/store", "--socket", f"{self.dir}/store.sock"],
                stdout=log, stderr=log, start_new_session=True)

    def leader(self):
        leaders = [node for node in self.nodes
                   for seen in [node.ask()] if (seen.get("role"), seen.get("state")) ==
                   ("primary", "running")]
        return leaders[0] if len(leaders) == 1 else None

    def whole(self):
        seen = [node.ask() for node in self.nodes]
        roles = sorted(one.get("role", "") for one in seen)
        streaming = [one for one in seen if one.get("replication_state") == "streaming"]
        return (roles == ["primary", "replica", "replica"] and len(streaming) == 2 and
                len({one.get("timeline") for one in seen}) == 1 and
                all(one.get("state") == "running" for one in seen))

    def await_whole(self):
        until("every node streams", WHOLE_S, self.whole, 0.1)
        until("every node streams, still", WHOLE_S, self.whole, 0.5)


def watch(seconds):
    """What is observed is that for so long nothing happens."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reap()
        time.sleep(0.1)


# Each case breaks the cluster and comes back when the report can be asked for; then it heals it.

def postmaster_killed(bench, leader, drill):
    os.kill(leader.postmaster(), signal.SIGKILL)
    until("writes", WHOLE_S, lambda: drill.order("anew") == "yes")
    bench.await_whole()


def node_killed(bench, leader, drill):
    leader.kill()
    until("writes elsewhere", WHOLE_S, lambda: drill.order("anew") == "yes")
    until("a leader", WHOLE_S, bench.leader)
    watch(4)  # a client that waits for a dead machine gets its chance to say so
    leader.plug()
    leader.start()
    bench.await_whole()


def switchover(bench, leader, drill):
    candidate = random.choice([node for node in bench.nodes if node is not leader])
    body = json.dumps({"leader": leader.name, "candidate": candidate.name}).encode()
    request = urllib.request.Request(f"http://{leader.address}:8008/switchover", body,
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200, answer.status
    until("writes", WHOLE_S, lambda: drill.order("anew") == "yes")
    bench.await_whole()
    assert bench.leader() is candidate, "another leader than ordered"


def same_server(case):
    """The case must leave the very same postmaster leading."""
    def checked(bench, leader, drill):
        postmaster = leader.postmaster()
        case(bench, leader, drill)
        bench.await_whole()
        assert bench.leader() is leader and leader.postmaster() == postmaster, "another server"
    checked.__name__ = case.__name__
    return checked


@same_server
def agent_killed(bench, leader, drill):
    agent = leader.agent()
    os.kill(agent, signal.SIGKILL)
    until("another agent", 10, lambda: leader.agent() not in (0, agent))
    watch(10)


@same_server
def agent_frozen(bench, leader, drill):
    agent = leader.agent()
    os.kill(agent, signal.SIGSTOP)
    watch(60)
    assert leader.agent() not in (0, agent), "no other agent"


@same_server
def agent_upgraded(bench, leader, drill):
    agent = leader.agent()
    os.kill(leader.guard(), signal.SIGUSR2)
    until("another agent", 20, lambda: leader.agent() not in (0, agent))
    watch(10)


@same_server
def guard_killed(bench, leader, drill):
    guard = leader.guard()
    os.kill(guard, signal.SIGKILL)
    until("another guard", 10, lambda: leader.guard() not in (0, guard))
    watch(10)


@same_server
def guard_frozen(bench, leader, drill):
    guard = leader.guard()
    os.kill(guard, signal.SIGSTOP)
    until("another guard", 10, lambda: leader.guard() not in (0, guard))
    watch(10)


@same_server
def store_frozen(bench, leader, drill):
    bench.store.send_signal(signal.SIGSTOP)
    watch(60)
    bench.store.send_signal(signal.SIGCONT)


@same_server
def store_killed(bench, leader, drill):
    bench.store.kill()
    bench.store.wait()
    watch(60)
    bench.start_store()


CASES = {  # name: (what to do, the most that the write gap may be in ms, writes may fail)
    "postmaster_killed": (postmaster_killed, 550, True),
    "node_killed": (node_killed, 2500, True),
    "switchover": (switchover, 300, True),
    "agent_killed": (agent_killed, 250, False),
    "agent_frozen": (agent_frozen, 250, False),
    "agent_upgraded": (agent_upgraded, 250, False),
    "guard_killed": (guard_killed, 250, False),
    "guard_frozen": (guard_frozen, 250, False),
    "store_frozen": (store_frozen, 250, False),
    "store_killed": (store_killed, 250, False),
}


def measure(bench, name):
    case, _, _ = CASES[name]
    bench.await_whole()
    drill = Drill(bench)
    try:
        until("a first row", 30, lambda: drill.order("acked") == "yes")
        watch(2 + random.random())  # a random phase of the agents' rounds
        leader = bench.leader()
        drill.order("fault")
        trouble = ""
        try:
            case(bench, leader, drill)
        except (TimeoutError, AssertionError, OSError) as error:
            trouble = str(error) or type(error).__name__
        report = json.loads(drill.order("report"))
        report["trouble"] = trouble
        return report
    finally:
        drill.end()


def verdict(name, report):
    _, gap_ms, may_fail = CASES[name]
    return [text for text, wrong in (
        (report["trouble"], report["trouble"]),
        (report.get("error", ""), "error" in report),
        (f"gap over {gap_ms} ms", report.get("gap_ms", 0) > gap_ms),
        ("rows missing", report.get("missing", 0) > 0 and name != "node_killed"),
        ("writes failed", not may_fail and report.get("failed_old", 0) > 0),
        ("two writable servers", report.get("two_writable", False))) if wrong]


def cpu_ns(pid):
    return sum(int((task / "schedstat").read_text().split()[0])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def pss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def idle(bench, seconds=60):
    """Of each node: guard, its log carrier and agent."""
    bench.await_whole()
    watch(3)
    owners = {node.name: [pid for pid, words in node.processes().items()
                          if words[0].endswith(("holdfast", "holdfast-guard"))]
              for node in bench.nodes}
    before = {pid: cpu_ns(pid) for pids in owners.values() for pid in pids}
    start = time.monotonic()
    watch(seconds)
    elapsed = time.monotonic() - start
    figures = {}
    for name, pids in owners.items():
        figures[name] = {
            "processes": len(pids),
            "pss_mib": round(sum(map(pss_kib, pids)) / 1024, 2),
            "cpu_percent": round(sum(cpu_ns(pid) - before[pid] for pid in pids) / elapsed / 1e7, 3),
        }
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        subprocess.run([bench.program, "ctl", "-c", str(bench.nodes[0].config), "list"], check=True,
                       stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - begin) * 1000)
    figures["ctl_list_ms"] = round(statistics.median(times), 1)
    return figures


def show(name, reports):
    good = [report for report in reports if "gap_ms" in report]
    faults = sorted({text for report in reports for text in verdict(name, report)})
    if not good:
        print(f"{name:18} {'; '.join(faults)}", flush=True)
        return faults
    gaps = sorted(report["gap_ms"] / 1000 for report in good)
    clients = sorted(report["client_gap_ms"] / 1000 for report in good)
    print(f"{name:18} {statistics.median(gaps):7.3f} ({gaps[0]:.3f}-{gaps[-1]:.3f})"
          f" {statistics.median(clients):9.3f} ({clients[0]:.3f}-{clients[-1]:.3f})"
          f" {CASES[name][1] / 1000:6.2f} {sum(r['missing'] for r in good):8}"
          f" {sum(r['failed_old'] for r in good):7} {'yes' if any(r['two_writable'] for r in good) else 'no':>4}"
          f" {sum(r['acked_total'] for r in good):8}  {'; '.join(faults) or 'good'}", flush=True)
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--only", default="")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ttl", default="2s", help="seconds, like 2s or 1.5s")
    parser.add_argument("--pace", type=int, default=0, help="ms between two commits of a client")
    parser.add_argument("--pg-bin", default="/usr/lib/postgresql/15/bin")
    parser.add_argument("--json", default="")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    args = parser.parse_args()
    names = [name for name in args.only.split(",") if name] or [*CASES, "idle"]
    unknown = [name for name in names if name not in (*CASES, "idle")]
    if unknown or os.geteuid() != 0:
        sys.exit(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}, idle" if unknown
                 else "bench: network namespaces need root")
    bench, results, wrong = Bench(args), {}, False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        bench.up()
        print(f"{'case (ttl ' + args.ttl + ')':18} {'write gap, s':>21} {'clients alone, s':>23}"
              f" {'bound':>6} {'missing':>8} {'failed':>7} {'two':>4} {'rows':>8}", flush=True)
        for name in names:
            if name == "idle":
                results[name] = idle(bench)
                print(json.dumps(results[name]), flush=True)
                continue
            results[name] = [measure(bench, name) for _ in range(args.runs)]
            wrong = bool(show(name, results[name])) or wrong
    finally:
        bench.down()
        if args.keep:
            print(f"kept: {bench.dir}")
        else:
            shutil.rmtree(bench.dir, ignore_errors=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
