"""Real Consul servers as a cluster's store: the same face as harness.Store, and what only Consul has."""

import itertools
import json
import os
import random
import shutil
import signal
import socket
import urllib.error
import urllib.request

from harness import Process, wait_for

ANSWER_S = 3
# Below what the kernel hands out to clients: a server that comes back finds its ports free.
PORTS = range(20000, 32000)


def _is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _ports(count):
    start = random.choice(PORTS)
    free = (p for p in (*range(start, PORTS.stop), *range(PORTS.start, start)) if _is_free(p))
    return list(itertools.islice(free, count))


class Server:
    """One server of the store's; it may be one of several."""

    def __init__(self, store, index, ports):
        self.store = store
        self.index = index
        self.host = "127.0.0.1"
        self.netns = None
        self.http_port, self.dns_port, self.rpc_port, self.serf_port = ports
        self.dir = os.path.join(store.cluster.dir, f"consul{index}")
        self.process = None

    def configure(self):
        store = self.store
        os.makedirs(self.dir, exist_ok=True)
        document = {
            "server": True,
            "bootstrap_expect": len(store.servers),
            "data_dir": os.path.join(self.dir, "data"),
            "node_name": f"c{self.index}",
            "bind_addr": self.host,
            "client_addr": self.host,
            "ports": {"http": self.http_port, "dns": self.dns_port, "server": self.rpc_port,
                      "serf_lan": self.serf_port, "serf_wan": -1, "grpc": -1},
            "retry_join": [f"{s.host}:{s.serf_port}" for s in store.servers],
            "retry_interval": "1s",
            "performance": {"raft_multiplier": 1},
            "limits": {"http_max_conns_per_client": 1000},
            "disable_update_check": True,
            "leave_on_terminate": False,
            "skip_leave_on_interrupt": True,
            "log_level": "warn",
            **store.settings,
        }
        with open(os.path.join(self.dir, "consul.json"), "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
        store.cluster.give(self.dir)

    def start(self):
        argv = ["consul", "agent", f"-config-file={self.dir}/consul.json"]
        self.process = Process(self.store.cluster, argv, os.path.join(self.dir, "log"),
                               netns=self.netns)

    def runs(self):
        return self.process is not None and self.process.popen.poll() is None

    def signal(self, number):
        if self.runs():
            os.kill(self.process.popen.pid, number)

    def stop(self, number):
        if self.runs():
            self.signal(signal.SIGCONT)
            self.signal(number)
            self.process.wait()

    def wipe(self):
        shutil.rmtree(os.path.join(self.dir, "data"), ignore_errors=True)

    def ask(self, path, method="GET", body=None):
        """(status, JSON or text); (None, reason) when nobody answers."""
        request = urllib.request.Request(f"http://{self.host}:{self.http_port}{path}", method=method,
                                         data=body.encode() if body is not None else None)
        if self.store.token:
            request.add_header("X-Consul-Token", self.store.token)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                text = answer.read().decode()
                status = answer.status
        except urllib.error.HTTPError as error:
            text, status = error.read().decode(), error.code
        except OSError as error:
            return None, str(error)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text


class Consul:
    """The store of one cluster of tests."""

    def __init__(self, cluster, servers=1, settings=None):
        self.cluster = cluster
        self.settings = settings or {}
        self.token = ""  # of the tests themselves
        ports = _ports(4 * servers)
        self.servers = [Server(self, i, ports[4 * i:4 * i + 4]) for i in range(servers)]

    @property
    def process(self):
        return self.servers[0].process

    def section(self, node):
        """What the node's configuration says about its store: every node has a server of its own."""
        server = self.servers[self.cluster.nodes.index(node) % len(self.servers)]
        return {"consul": {"host": f"{server.host}:{server.http_port}", **self.cluster.consul}}

    def start(self):
        for server in self.servers:
            if not server.runs():
                server.configure()
                server.start()
        self.wait_ready()

    def wait_ready(self):
        for server in self.servers:
            wait_for(lambda s=server: s.ask("/v1/kv/none?consistent")[0] == 404, "Consul's answer")

    def freeze(self):
        for server in self.servers:
            server.signal(signal.SIGSTOP)

    def thaw(self):
        for server in self.servers:
            server.signal(signal.SIGCONT)

    def stop(self, number=signal.SIGTERM):
        for server in self.servers:
            server.stop(number)

    # ---- what only Consul has ----

    def ask(self, path, method="GET", body=None):
        return self.servers[0].ask(path, method, body)

    def key(self, name):
        """One key of the cluster's as Consul has it; None: there is none."""
        status, found = self.ask(f"/v1/kv/service/{self.cluster.scope}/{name}?consistent")
        return found[0] if status == 200 else None
