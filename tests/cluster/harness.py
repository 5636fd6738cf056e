"""A cluster of real processes on this machine: one local store, N nodes, temp directory, free ports.

Everything that was started is stopped by close(), whatever happened in between. PostgreSQL refuses
root, so as root everything runs as the user postgres. Waits poll a condition with a deadline.
"""

import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import psycopg2

PG_BIN = os.environ.get("HOLDFAST_PG_BIN", "/usr/lib/postgresql/15/bin")
PASSWORD = "harness-secret"
MARK = "CLUSTER_TEST_MARK"


def wait_for(condition, what, timeout=30.0, step=0.02):
    """The condition's first true value; fails after the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        time.sleep(step)


def free_ports(count):
    """Ports that nobody listens on now, all different, outside the ephemeral reuse of one bind."""
    sockets = []
    try:
        while len(sockets) < count:
            s = socket.socket()
            s.bind(("127.0.0.1", 0))
            if s.getsockname()[1] > 20000:
                sockets.append(s)
            else:
                s.close()
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def read_file(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def pids():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def is_alive(pid):
    stat = read_file(f"/proc/{pid}/stat")
    return bool(stat) and stat.rsplit(b") ", 1)[1][:1] not in (b"Z", b"X")


def kill_pids(victims, number):
    for pid in victims:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def pids_marked(mark):
    want = f"{MARK}={mark}".encode()
    return [p for p in pids() if want in read_file(f"/proc/{p}/environ").split(b"\0")
            and is_alive(p)]


class Process:
    """A started process with its log."""

    def __init__(self, cluster, argv, log, mark="", more_env=None, netns=None):
        self.mark = mark
        options = cluster.user_options()
        if netns is not None:  # only root may enter one: the user comes after it
            argv = ["ip", "netns", "exec", netns, *cluster.as_user(), *argv]
            options = {}
        env = {
            "PATH": f"{PG_BIN}:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": cluster.dir,
            MARK: mark,
            **(more_env or {}),
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                env[name] = os.environ[name]
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd=cluster.dir, start_new_session=True, **options)

    def pids(self):
        return pids_marked(self.mark)

    def wait(self, timeout=30):
        return self.popen.wait(timeout)


class Store:
    def __init__(self, cluster):
        self.cluster = cluster
        self.dir = os.path.join(cluster.dir, "store")
        self.socket = os.path.join(cluster.dir, "store", "store.sock")
        self.process = None

    def section(self, node):
        """What the node's configuration says about its store."""
        del node  # the same for all
        return {"local": {"path": self.socket}}

    def start(self):
        argv = [self.cluster.holdfast, "store", "--dir", self.dir]
        self.process = Process(self.cluster, argv, os.path.join(self.cluster.dir, "store.log"))
        wait_for(lambda: os.path.exists(self.socket), "the store's socket")

    def freeze(self):
        os.kill(self.process.popen.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process.popen.pid, signal.SIGCONT)

    def stop(self, number=signal.SIGTERM):
        if self.process is not None and self.process.popen.poll() is None:
            os.kill(self.process.popen.pid, signal.SIGCONT)
            os.kill(self.process.popen.pid, number)
            self.process.wait()
        self.process = None


class Node:
    def __init__(self, cluster, name, pg_port, rest_port):
        self.cluster = cluster
        self.name = name
        self.host = "127.0.0.1"  # and another, with a network namespace of its own, in tests/faults
        self.netns = None
        self.pg_port = pg_port
        self.rest_port = rest_port
        self.dir = os.path.join(cluster.dir, name)
        self.data_dir = os.path.join(self.dir, "data")
        self.config = os.path.join(self.dir, "holdfast.yml")
        self.log = os.path.join(self.dir, "agent.log")
        self.process = None  # the last start's first process: the guard, until it is replaced
        self.mark = uuid.uuid4().hex  # in the environment of everything that was ever started here

    def configure(self):
        cluster = self.cluster
        os.makedirs(self.dir, exist_ok=True)
        document = {
            "scope": cluster.scope,
            "name": self.name,
            **cluster.store.section(self),
            "restapi": {"listen": f"{self.host}:{self.rest_port}",
                        "connect_address": f"{self.host}:{self.rest_port}"},
            "bootstrap": {
                "dcs": cluster.dcs,
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
                "pg_hba": ["local all all trust", f"host all all {cluster.network} trust",
                           f"host replication all {cluster.network} trust"],
            },
            "postgresql": {
                **cluster.postgresql,
                "listen": f"{self.host}:{self.pg_port}",
                "connect_address": f"{self.host}:{self.pg_port}",
                "data_dir": self.data_dir,
                "bin_dir": PG_BIN,
                "pgpass": os.path.join(self.dir, "pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": PASSWORD},
                    "replication": {"username": "replicator", "password": PASSWORD},
                    "rewind": {"username": "rewinder", "password": PASSWORD},
                },
                "parameters": {"unix_socket_directories": self.dir, "shared_buffers": "16MB",
                               "fsync": "off"},
            },
        }
        with open(self.config, "w", encoding="utf-8") as f:
            json.dump(document, f, indent=1)  # JSON is YAML
        cluster.give(self.dir)

    def start(self, more_env=None):
        self.process = Process(self.cluster, [self.cluster.holdfast, "agent", self.config],
                               self.log, self.mark, more_env, self.netns)

    # ---- what runs ----

    def postgres_pids(self):
        found = []
        for pid in pids():
            try:
                here = os.readlink(f"/proc/{pid}/cwd") == self.data_dir
                exe = os.readlink(f"/proc/{pid}/exe")
            except OSError:
                continue
            if here and exe.endswith("/postgres") and is_alive(pid):
                found.append(pid)
        return found

    def postmaster_pid(self):
        first = read_file(os.path.join(self.data_dir, "postmaster.pid")).split(b"\n")[0]
        return int(first) if first.isdigit() and is_alive(int(first)) else None

    def own_pids(self):
        """Guards and agents (PostgreSQL clobbers its environment)."""
        return pids_marked(self.mark)

    def pids(self):
        return sorted(set(self.own_pids() + self.postgres_pids()))

    def pids_named(self, executable):
        """The node's processes of that executable: "holdfast" (the agent), "holdfast-guard"."""
        found = []
        for pid in self.own_pids():
            try:
                exe = os.readlink(f"/proc/{pid}/exe")
            except OSError:
                continue
            if os.path.basename(exe) == executable:
                found.append(pid)
        return found

    def agent_pid(self):
        found = self.pids_named("holdfast")
        return found[0] if found else None

    def guard_pid(self):
        """The guard, not the process that carries its log's lines: it has the page open."""
        def opened(pid, fd):
            try:
                return os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                return ""  # closed since it was listed

        def has_page(pid):
            try:
                fds = os.listdir(f"/proc/{pid}/fd")
            except OSError:
                return False
            return any("memfd:" in opened(pid, fd) for fd in fds)

        found = [pid for pid in self.pids_named("holdfast-guard") if has_page(pid)]
        return found[0] if found else None

    def kill_all(self):
        """As if the machine went: everything stops at one moment, nothing is tidied up."""
        victims = self.pids()
        kill_pids(victims, signal.SIGSTOP)
        wait_for(lambda: not self._kill_round(), f"the end of all processes of {self.name}")
        if self.process is not None:
            self.process.wait()

    def _kill_round(self):
        victims = self.pids()
        kill_pids(victims, signal.SIGKILL)
        return victims

    def terminate(self, timeout=30):
        """SIGTERM and the exit code."""
        os.kill(self.process.popen.pid, signal.SIGTERM)
        return self.process.wait(timeout)

    # ---- questions ----

    def rest(self, path, method="GET", body=None, timeout=3):
        """(status, text), or (None, reason) when nobody answers."""
        connection = http.client.HTTPConnection(self.host, self.rest_port, timeout=timeout)
        try:
            connection.request(method, path, body,
                               {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return None, str(error)
        finally:
            connection.close()

    def status(self):
        code, text = self.rest("/patroni")
        return json.loads(text) if code == 200 else None

    def connect(self, timeout=2):
        connection = psycopg2.connect(host=self.host, port=self.pg_port, user="postgres",
                                      password=PASSWORD, dbname="postgres",
                                      connect_timeout=timeout)
        connection.autocommit = True
        return connection

    def query(self, sql):
        """All rows, or None when the server does not answer or refuses."""
        try:
            connection = self.connect()
        except psycopg2.Error:
            return None
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error:
            return None
        finally:
            connection.close()

    def is_writable(self):
        return self.query("select 1 where not pg_is_in_recovery()") == [(1,)]

    def timeline(self):
        rows = self.query("select timeline_id from pg_control_checkpoint()")
        return rows[0][0] if rows else None


class Cluster:
    def __init__(self, holdfast, guard, nodes=3, store=Store, **dcs):
        """store: makes the store of a cluster (Store, or one of consul.py)."""
        self.scope = "demo"
        self.network = "127.0.0.1/32"  # who may connect
        self.consul = {}  # more of that section, and of `postgresql`
        self.postgresql = {}
        self.password = PASSWORD
        self.dcs = {"ttl": 2, "loop_wait": 0.5, "retry_timeout": 0.5,
                    "postgresql": {"use_pg_rewind": True}}
        self.dcs.update(dcs)
        self.dir = tempfile.mkdtemp(prefix="holdfast-cluster-")
        os.chmod(self.dir, 0o755)
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        binaries = os.path.join(self.dir, "bin")  # the agent looks for its guard beside itself
        os.mkdir(binaries)
        self.holdfast = shutil.copy(holdfast, os.path.join(binaries, "holdfast"))
        shutil.copy(guard, os.path.join(binaries, "holdfast-guard"))
        self.give(self.dir)
        self.store = store(self)
        ports = free_ports(2 * nodes)
        self.nodes = [Node(self, f"n{i + 1}", ports[2 * i], ports[2 * i + 1])
                      for i in range(nodes)]

    def user_options(self):
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def as_user(self):
        """The words before a command that root has to begin."""
        if self.user is None:
            return []
        return ["setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}",
                "--clear-groups"]

    def give(self, directory):
        if self.user is not None:
            for base, _, files in os.walk(directory):
                for path in [base] + [os.path.join(base, f) for f in files]:
                    os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def start(self):
        self.store.start()
        for node in self.nodes:
            node.configure()
            node.start()

    def close(self):
        try:
            for node in self.nodes:
                node.kill_all()
        finally:
            self.store.stop(signal.SIGKILL)
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- questions ----

    def node(self, name):
        return next(n for n in self.nodes if n.name == name)

    def writable(self):
        return [n for n in self.nodes if n.is_writable()]

    def wait_primary(self, timeout=60, among=None):
        def one():
            found = [n for n in self.writable() if among is None or n in among]
            return found[0] if len(found) == 1 else None
        return wait_for(one, "a writable primary", timeout)

    def wait_streaming(self, primary, count, timeout=60):
        """Replicas that answer and whose walreceiver streams (a clone streams too, but answers not)."""
        def streaming():
            rows = primary.query("select application_name from pg_stat_replication "
                                 "where state = 'streaming'")
            names = {r[0] for r in rows or []}
            found = [n for n in self.nodes if n.name in names and n is not primary and
                     n.query("select 1 from pg_stat_wal_receiver where status = 'streaming'")]
            return found if len(found) >= count else None
        return wait_for(streaming, f"{count} streaming replicas of {primary.name}", timeout)

    def logs(self, lines=150):
        """The last lines of everything that logs; None: all of them."""
        parts = []
        for path in [os.path.join(self.dir, "store.log")] + [n.log for n in self.nodes]:
            text = read_file(path).decode(errors="replace").splitlines()
            parts.append(f"==== {path}\n" + "\n".join(text[-(lines or 0):]))
        return "\n".join(parts)
