"""A cluster on hosts of its own: three nodes, three Consul servers and the clients, each in a network
namespace, and between all of them a switch (switch.c) that loses, delays, doubles and cuts.

The servers stand apart from the nodes, so that what lies between a node and its server can fail by
itself; node i asks server i. Needs root. Everything is taken down by close().
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))

# pylint: disable=wrong-import-position
import harness  # noqa: E402
import steps  # noqa: E402
from consul import Consul  # noqa: E402
from harness import wait_for  # noqa: E402

NET = "10.203.98"
TTL_S = 2.0
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HTTP, DNS, RPC, SERF = 8500, 8600, 8300, 8301
LOST = {"loss": 1000}
NODES, SERVERS = ("n1", "n2", "n3"), ("c1", "c2", "c3")


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def enter(path):
    with open(path, "rb") as netns:
        if LIBC.setns(netns.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")


class Switch:
    """The network. A policy holds for one direction: loss and dup in permille, delay and jitter in ms."""

    def __init__(self, names, seed):
        self.prefix = f"hf{os.getpid()}-"
        self.broken = []  # what holds now: lists of (source, target, policy), the youngest last
        self.names = names
        self.address = {name: f"{NET}.{number}" for name, number in names.items()}
        self.home = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
        self.home_fd = os.open(self.home, os.O_RDONLY | os.O_CLOEXEC)
        for name in names:
            run("ip", "netns", "add", self.netns(name))
        program = os.environ.get("HOLDFAST_SWITCH", "build/tests/faults/switch")
        self.process = subprocess.Popen(
            [program, str(seed), *(f"{name}={self.netns(name)}={address}"
                                   for name, address in self.address.items())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout.readline() == "ready\n", "the switch does not start"
        for name, address in self.address.items():
            inside = ("ip", "-n", self.netns(name))
            run(*inside, "addr", "add", f"{address}/24", "dev", "hf0")
            run(*inside, "link", "set", "hf0", "up", "mtu", "9000", "txqueuelen", "5000")
            run(*inside, "link", "set", "lo", "up")

    def netns(self, name):
        return self.prefix + name

    def order(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def _set(self, source, target, policy):
        words = " ".join(f"{key}={value}" for key, value in policy.items())
        assert self.order(f"set {source} {target} {words}") == "ok"

    def one_way(self, source, target, **policy):
        self.broken.append([(source, target, policy)])
        self._set(source, target, policy)

    def mender(self, do, *arguments):
        """Breaks something by `do`; -> what mends just that, and leaves the other faults as they are."""
        before = len(self.broken)
        do(*arguments)
        mine, self.broken[before:] = sum(self.broken[before:], []), []
        self.broken.append(mine)

        def mend():
            if any(other is mine for other in self.broken):  # else all was healed already
                self.broken = [other for other in self.broken if other is not mine]
                self._set("*", "*", {})
                for one in sum(self.broken, []):
                    self._set(*one)
        return mend

    def both_ways(self, one, other, **policy):
        self.one_way(one, other, **policy)
        self.one_way(other, one, **policy)

    def cut(self, ones, others):
        """Nothing passes between any of these and any of those."""
        for one in ones:
            for other in others:
                if one != other:
                    self.both_ways(one, other, **LOST)

    def isolate(self, name):
        self.both_ways(name, "*", **LOST)

    def heal(self):
        self.broken = []
        self._set("*", "*", {})

    def enter(self, name):
        enter(f"/var/run/netns/{self.netns(name)}")

    def leave(self):
        if LIBC.setns(self.home_fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns home")

    def close(self):
        self.leave()
        os.close(self.home_fd)
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", self.netns(name)], check=False)


class Freezer:
    """A machine that stands still as a whole: the cgroup v1 freezer stops all its processes at once."""

    def __init__(self, name):
        self.path = pathlib.Path("/sys/fs/cgroup/freezer") / name
        self.path.mkdir(exist_ok=True)

    def hold(self, pids):
        for pid in pids:
            try:
                (self.path / "cgroup.procs").write_text(str(pid))
            except ProcessLookupError:
                pass

    def _state(self, word):
        (self.path / "freezer.state").write_text(word)
        wait_for(lambda: (self.path / "freezer.state").read_text().strip() == word, word, 10, 0.001)

    def freeze(self):
        self._state("FROZEN")

    def thaw(self):
        self._state("THAWED")

    def close(self):
        self.thaw()
        wait_for(lambda: not (self.path / "cgroup.procs").read_text(), "an empty freezer", 10)
        self.path.rmdir()


class Field:
    """The cluster, its network, and the clients' place in it (this thread, and those it starts)."""

    def __init__(self, holdfast, guard, seed=1):
        names = {**{f"n{i}": i for i in (1, 2, 3)}, **{f"c{i}": 10 + i for i in (1, 2, 3)},
                 "client": 100}
        self.net = Switch(names, seed)
        self.net.enter("client")
        self.cluster = harness.Cluster(
            holdfast, guard, 3, lambda cluster: Consul(cluster, 3),
            maximum_lag_on_failover=1048576)
        self.cluster.network = f"{NET}.0/24"
        self.cluster.postgresql = {"remove_data_directory_on_rewind_failure": True,
                                   "remove_data_directory_on_diverged_timelines": True}
        for node in self.nodes:
            node.host, node.netns = self.net.address[node.name], self.net.netns(node.name)
            node.pg_port, node.rest_port = 5432, 8008
        for number, server in enumerate(self.store.servers, 1):
            server.host, server.netns = self.net.address[f"c{number}"], self.net.netns(f"c{number}")
            server.http_port, server.dns_port, server.rpc_port, server.serf_port = HTTP, DNS, RPC, SERF

        self.freezers = {}

    def freezer(self, node):
        """Holds everything that runs on the node now; what they start later is in it too."""
        if node.name not in self.freezers:
            self.freezers[node.name] = Freezer(self.net.netns(node.name))
        self.freezers[node.name].hold(node.pids())
        return self.freezers[node.name]

    @property
    def nodes(self):
        return self.cluster.nodes

    @property
    def store(self):
        return self.cluster.store

    def server_of(self, node):
        """The name of the host that node asks."""
        return f"c{node.name[1:]}"

    def start(self):
        self.cluster.start()

    def kill_node(self, node):
        """As when a machine is lost: silent first, then dead."""
        self.net.isolate(node.name)
        node.kill_all()

    def restart_node(self, node):
        self.net.heal()
        node.start()

    def heal(self):
        """Every process goes on, every link is whole, whoever is gone is started again."""
        self.net.heal()
        for freezer in self.freezers.values():
            freezer.thaw()
        for server in self.store.servers:
            server.signal(signal.SIGCONT)
            if not server.runs():
                server.start()
        for node in self.nodes:
            harness.kill_pids(node.pids(), signal.SIGCONT)

    def settle(self, timeout=90):
        self.heal()
        return steps.settle(self.cluster, timeout)

    def store_leader(self):
        """The index of Consul's leader, as any server knows it; None: there is none now."""
        for server in self.store.servers:
            status, address = server.ask("/v1/status/leader") if server.runs() else (None, "")
            if status == 200 and address:
                return int(address.rsplit(".", 1)[1].split(":")[0]) - 11
        return None

    def wait_store(self, timeout=30):
        wait_for(lambda: self.store_leader() is not None and all(
            s.ask("/v1/kv/none?consistent")[0] == 404 for s in self.store.servers),
            "the store's answer", timeout)

    def close(self):
        try:
            self.heal()
            self.cluster.close()
            for freezer in self.freezers.values():
                freezer.close()
        finally:
            self.net.close()
