"""The guard on a real PostgreSQL: what ends with the lease, and what must not end with a process.

The agent is guard_test_agent (guard_agent.c), driven by lines. HOLDFAST_BUILD names the build directory.
Times are CLOCK_BOOTTIME milliseconds, as the guard's own.
"""
import grp
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import psycopg2
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("HOLDFAST_BUILD", os.path.join(ROOT, "build"))
PG_BIN = os.environ.get("HOLDFAST_PG_BIN", "/usr/lib/postgresql/15/bin")
IS_ROOT = os.getuid() == 0
OWNER = pwd.getpwnam("postgres") if IS_ROOT else pwd.getpwuid(os.getuid())
AS_OWNER = {"user": OWNER.pw_uid, "group": OWNER.pw_gid, "extra_groups": []} if IS_ROOT else {}
FAST_MARGIN_MS = 150  # a busy machine may run the timer's owner so late


def now_ms():
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)


def wait_until(condition, timeout=10.0, what="condition"):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"timed out: {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stat_fields(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return stat.read().rpartition(")")[2].split()


def programs_below(directory):
    """pids of processes whose executable lies in directory, also when it was replaced since."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/exe").startswith(directory + "/"):
                found.append(int(name))
        except OSError:
            continue
    return found


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def servers_in(data_dir):
    """pids of postgres processes that stand in data_dir."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.readlink(f"/proc/{name}/cwd") == data_dir and "/postgres" in os.readlink(
                f"/proc/{name}/exe"
            ):
                found.append(int(name))
        except OSError:
            continue
    return found


class Line:
    def __init__(self, text):
        self.at = now_ms()
        self.pid, self.word, *rest = text.split(" ", 2)
        self.pid = int(self.pid)
        self.rest = rest[0] if rest else ""
        self.values = dict(re.findall(r"(\w+)=(\S*)", self.rest))

    def __getitem__(self, key):
        return int(self.values[key])

    def __repr__(self):
        return f"<{self.pid} {self.word} {self.rest}>"


class Node:
    """A guard with its agent and, later, a server; everything below one temporary directory."""

    def __init__(self, template):
        self.dir = tempfile.mkdtemp(prefix="hf-guard-")
        os.chmod(self.dir, 0o755)
        self.data = os.path.join(self.dir, "data")
        subprocess.run(["cp", "-a", template, self.data], check=True)
        self.log = os.path.join(self.dir, "postgres.log")
        self.bin = os.path.join(self.dir, "bin")
        os.mkdir(self.bin)
        shutil.copy(os.path.join(BUILD, "src/guard/holdfast-guard"), self.bin)
        shutil.copy(os.path.join(BUILD, "tests/unit/guard/guard_test_agent"), self.bin)
        if IS_ROOT:
            os.chown(self.dir, OWNER.pw_uid, OWNER.pw_gid)
        self.port = free_port()
        self.lines = []
        self.seen = 0
        self.changed = threading.Condition()
        self.guards = set()
        self.postmaster = 0
        self.strangers = []
        self.stderr = open(os.path.join(self.dir, "guard.log"), "w+b")
        self.process = None

    def guard_path(self):
        return os.path.join(self.bin, "holdfast-guard")

    def start_guard(self, env):
        user = ["--uid", str(OWNER.pw_uid), "--gid", str(OWNER.pw_gid)] if IS_ROOT else []
        agent = os.path.join(self.bin, "guard_test_agent")
        self.process = subprocess.Popen(
            [self.guard_path(), *user, "--agent-binary", agent, "--", "agent", "one two"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            env=env,
        )
        self.guards.add(self.process.pid)
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        hello = self.expect("hello")
        assert hello["guard"] == self.process.pid
        return hello

    def _read(self, stream):
        for raw in stream:
            text = raw.decode().rstrip("\n")
            line = Line(text)
            with self.changed:
                self.lines.append(line)
                if line.word == "hello":
                    self.guards.add(line["guard"])
                if line.word == "started":
                    self.postmaster = line["pid"]
                self.changed.notify_all()

    def tell(self, text):
        self.process.stdin.write((text + "\n").encode())
        self.process.stdin.flush()

    def expect(self, *words, timeout=10.0):
        """The next line, from where the last expect stopped, whose word is one of words."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                while self.seen < len(self.lines):
                    line = self.lines[self.seen]
                    self.seen += 1
                    if line.word in words:
                        return line
                left = end - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    raise AssertionError(f"no {words}; seen {self.lines[-8:]}; {self.guard_log()}")

    def ask(self, text):
        self.tell(text)
        return self.expect("done", "refused", "started", "failed")

    def guard_log(self):
        with open(self.stderr.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def start_line(self, epoch, executable="postgres", *more):
        return (
            f"start {epoch} {self.log} {self.data} {PG_BIN}/{executable} -D {self.data} -p {self.port} "
            f"-k {self.dir} " + " ".join(more)
        )

    def start_postgres(self, epoch=0):
        answer = self.ask(self.start_line(epoch))
        assert answer.word == "started", answer
        self.wait_connect()
        return answer["pid"]

    def become_primary(self, ttl, epoch=1):
        self.tell(f"lease {ttl} {epoch}")
        self.expect("lease")
        assert self.ask(f"arm {epoch}").word == "done"
        return self.start_postgres(epoch)

    def wait_connect(self):
        def attempt():
            try:
                return self.connect()
            except psycopg2.OperationalError:
                return None

        wait_until(attempt, 20, "a server that answers").close()

    def connect(self):
        connection = psycopg2.connect(
            host=self.dir, port=self.port, user="postgres", dbname="postgres", connect_timeout=5
        )
        connection.autocommit = True
        return connection

    def hold(self):
        """No renewals from now on; answers the deadline that stands."""
        self.tell("hold")
        return self.expect("held")["deadline"]

    def read_after_end(self, query):
        """Starts the server by itself, asks, stops it."""
        subprocess.run(
            [f"{PG_BIN}/pg_ctl", "-D", self.data, "-w", "-s", "-l", self.log, "-o",
             f"-p {self.port} -k {self.dir}", "start"],
            check=True, cwd="/", **AS_OWNER,
        )
        try:
            connection = self.connect()
            with connection.cursor() as cursor:
                cursor.execute(query)
                row = cursor.fetchone()
            connection.close()
            return row
        finally:
            subprocess.run(
                [f"{PG_BIN}/pg_ctl", "-D", self.data, "-w", "-s", "-m", "immediate", "stop"],
                check=True, cwd="/", **AS_OWNER,
            )

    def close(self):
        def none_left():
            # All are stopped before one is killed: each would bring the other back.
            signal_all(programs_below(self.bin), signal.SIGSTOP)
            signal_all(programs_below(self.bin), signal.SIGKILL)
            return not programs_below(self.bin)

        signal_all(self.strangers, signal.SIGKILL)
        wait_until(none_left, 10, "no guard left")
        if self.process is not None:
            self.process.wait()
            self.process.stdin.close()
        signal_all(servers_in(self.data), signal.SIGKILL)
        wait_until(lambda: not servers_in(self.data), 10, "no server left")
        self.stderr.close()
        shutil.rmtree(self.dir)


@pytest.fixture(scope="module")
def template():
    base = tempfile.mkdtemp(prefix="hf-template-")
    os.chmod(base, 0o755)
    if IS_ROOT:
        os.chown(base, OWNER.pw_uid, OWNER.pw_gid)
    data = os.path.join(base, "data")
    subprocess.run(
        [f"{PG_BIN}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8",
         "--locale=C"],
        check=True, stdout=subprocess.DEVNULL, cwd="/", **AS_OWNER,
    )
    with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as conf:
        conf.write(
            "listen_addresses = ''\nmax_prepared_transactions = 5\nmax_connections = 40\n"
            "shared_buffers = 16MB\nlogging_collector = on\nfsync = off\n"
        )
    yield data
    shutil.rmtree(base)


@pytest.fixture
def node(template, request):
    """A node whose guard runs; an indirect parameter adds to its environment."""
    one = Node(template)
    try:
        one.start_guard({**os.environ, **getattr(request, "param", {})})
        yield one
    finally:
        one.close()


class Writer(threading.Thread):
    """Inserts through one connection until it breaks; remembers the last acknowledged one."""

    def __init__(self, node, name):
        super().__init__(daemon=True)
        self.node = node
        self.connection = node.connect()
        self.count = 0
        self.last_ms = 0
        self.longest_ms = 0
        self.error = None
        self.stop = False
        with self.connection.cursor() as cursor:
            cursor.execute(f"create table if not exists {name} (id bigint)")
        self.statement = f"insert into {name} values (%s)"
        self.start()

    def run(self):
        before = now_ms()
        try:
            with self.connection.cursor() as cursor:
                while not self.stop:
                    cursor.execute(self.statement, (self.count,))
                    now = now_ms()
                    self.longest_ms = max(self.longest_ms, now - before)
                    before = self.last_ms = now
                    self.count += 1
                    time.sleep(0.001)
        except psycopg2.Error as error:
            self.error = error

    def advance(self, by=30, timeout=10):
        goal = self.count + by
        wait_until(lambda: self.count >= goal or self.error, timeout, "writes that go on")
        assert self.error is None, self.error

    def finish(self):
        self.stop = True
        self.join(10)
        assert not self.is_alive()


class Loop(threading.Thread):
    """A backend that commits in a loop of its own and never listens to its client."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.connection = node.connect()
        with self.connection.cursor() as cursor:
            cursor.execute("create table looped (at timestamptz)")
        self.backend = self.connection.get_backend_pid()
        self.start()

    def run(self):
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    "do $$ begin loop insert into looped values (clock_timestamp()); commit; "
                    "end loop; end $$"
                )
        except psycopg2.Error:
            pass


class Parallel(threading.Thread):
    """A query with parallel workers."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.connection = node.connect()
        with self.connection.cursor() as cursor:
            cursor.execute(
                "create table wide as select g from generate_series(1, 200000) g; "
                "set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; "
                "set parallel_tuple_cost = 0; set max_parallel_workers_per_gather = 2; "
                "analyze wide"
            )
        self.start()

    def run(self):
        try:
            with self.connection.cursor() as cursor:
                while True:
                    cursor.execute("select count(*) from wide where sqrt(g) + cbrt(g) > 12")
        except psycopg2.Error:
            pass


def prepare_transaction(node):
    connection = node.connect()
    with connection.cursor() as cursor:
        cursor.execute("create table prepared (id int)")
        cursor.execute("begin; insert into prepared values (1); prepare transaction 'kept'")
    connection.close()


def boot_offset_ms():
    """What to take from wall clock milliseconds to get CLOCK_BOOTTIME's."""
    return int(time.time() * 1000) - now_ms()


# --- the lease ends ------------------------------------------------------------------------------


def test_fast_stage_ends_writes_before_the_deadline(node):
    ttl = 2000
    node.become_primary(ttl)
    writers = [Writer(node, f"w{i}") for i in range(3)]
    looped = Loop(node)
    Parallel(node)
    prepare_transaction(node)
    for writer in writers:
        writer.advance()
    deadline = node.hold()
    fenced = node.expect("fenced")
    exited = node.expect("exited")
    for writer in writers:
        writer.join(10)
    last = max(writer.last_ms for writer in writers)
    looped.join(10)
    loop_last = node.read_after_end(
        "select (extract(epoch from max(at)) * 1000)::bigint, "
        "(select count(*) from pg_prepared_xacts) from looped"
    )
    loop_last_ms = loop_last[0] - boot_offset_ms()
    print(
        f"\nstage 1: signal at deadline-{deadline - fenced['at']} ms, last write "
        f"{last - fenced['at']} ms after it, COMMIT loop's {loop_last_ms - fenced['at']} ms, "
        f"all gone {exited['at'] - fenced['at']} ms after it"
    )
    assert fenced["stage"] == 1 and fenced["epoch"] == 1
    assert deadline - 0.3 * ttl - 2 <= fenced["at"] <= deadline - 0.3 * ttl + FAST_MARGIN_MS
    assert 0 < last < deadline and loop_last_ms < deadline
    assert exited["at"] < deadline and exited["left"] == 0 and exited["reaped"] == 1
    assert loop_last[1] == 1  # the prepared transaction is kept
    assert not servers_in(node.data)


def test_hard_stage_when_the_postmaster_does_not_listen(node):
    ttl = 2000
    postmaster = node.become_primary(ttl)
    writers = [Writer(node, f"w{i}") for i in range(3)]
    Loop(node)
    Parallel(node)
    prepare_transaction(node)
    for writer in writers:
        writer.advance()
    os.kill(postmaster, signal.SIGSTOP)
    deadline = node.hold()
    first = node.expect("fenced")
    second = node.expect("fenced")
    exited = node.expect("exited")
    for writer in writers:
        writer.join(10)
    last = max(writer.last_ms for writer in writers)
    row = node.read_after_end(
        "select (extract(epoch from max(at)) * 1000)::bigint, "
        "(select count(*) from pg_prepared_xacts) from looped"
    )
    loop_last_ms = row[0] - boot_offset_ms()
    print(
        f"\nstage 2: kill at deadline-{deadline - second['at']} ms, last write "
        f"{last - second['at']} ms after it, COMMIT loop's {loop_last_ms - second['at']} ms, "
        f"all gone {exited['at'] - second['at']} ms after it, {exited['killed']} killed"
    )
    assert first["stage"] == 1 and second["stage"] == 2
    assert deadline - 0.05 * ttl - 2 <= second["at"] < deadline
    assert first["at"] < last < deadline  # it did write on through stage 1
    assert loop_last_ms < deadline and exited["at"] < deadline
    assert exited["killed"] >= 5 and row[1] == 1
    assert not servers_in(node.data)


def test_deadline_zero_while_armed_fences_at_once(node):
    node.become_primary(5000)
    writer = Writer(node, "w")
    writer.advance()
    node.tell("zero 5000")
    zeroed = node.expect("zeroed")
    node.tell("ping")
    fenced = node.expect("fenced")
    exited = node.expect("exited")
    writer.join(10)
    print(f"\nzero: all gone {exited['at'] - zeroed['at']} ms after the page said so")
    assert fenced["stage"] == 2 and exited["at"] - zeroed["at"] < 1000
    assert not servers_in(node.data)


def test_fence_is_undone_only_by_disarm_after_the_end(node):
    postmaster = node.become_primary(1500)
    os.kill(postmaster, signal.SIGSTOP)
    node.hold()
    node.expect("fenced")
    # stage 1 has fired: a new lease, arming again and pause's disarm change nothing any more
    node.tell("lease 60000 1")
    assert node.ask("arm 1").word == "refused"
    assert node.ask("disarm 1 pause").word == "refused"
    assert node.expect("fenced")["stage"] == 2
    node.expect("exited")
    assert node.ask(node.start_line(0)).word == "refused"
    assert node.ask("disarm 2").word == "refused"
    assert node.ask("disarm 1").word == "done"
    node.start_postgres(0)


def test_a_guard_that_takes_over_goes_on_with_the_lease_and_the_fence(node):
    ttl = 3000
    postmaster = node.become_primary(ttl)
    writer = Writer(node, "w")
    writer.advance()
    os.kill(postmaster, signal.SIGSTOP)
    deadline = node.hold()
    os.kill(node.process.pid, signal.SIGKILL)
    second = node.expect("hello")
    assert second["armed"] == 1 and second["fence"] == 0 and second["postmaster"] == postmaster
    assert node.expect("fenced")["stage"] == 1
    os.kill(second["guard"], signal.SIGKILL)
    third = node.expect("hello")
    assert third["armed"] == 1 and third["fence"] == 1
    fenced = node.expect("fenced")
    exited = node.expect("exited")
    writer.join(10)
    print(f"\nthird guard: killed at deadline-{deadline - fenced['at']} ms, gone "
          f"{exited['at'] - fenced['at']} ms later")
    assert fenced["stage"] == 2 and exited["at"] < deadline and writer.last_ms < deadline
    assert exited["reaped"] == 0 and exited["status"] == -1  # it was no child of this guard
    assert not servers_in(node.data)
    # and the next start waits for the zombie that its distant parent has not seen yet
    assert node.ask("disarm 1").word == "done"
    node.start_postgres(0)


# --- the postmaster ends by itself ---------------------------------------------------------------


def test_orphans_of_a_killed_postmaster_end_and_strangers_do_not(node):
    postmaster = node.become_primary(5000)
    Loop(node)
    Parallel(node)
    user = {"user": pwd.getpwnam("nobody").pw_uid, "group": grp.getgrnam("nogroup").gr_gid,
            "extra_groups": []} if IS_ROOT else {}
    shell = subprocess.Popen(["/bin/sh", "-c", "read line; true"], cwd=node.data,
                             stdin=subprocess.PIPE, **user)
    own_shell = subprocess.Popen(["/bin/sh", "-c", "read line; true"], cwd=node.data,
                                 stdin=subprocess.PIPE, **AS_OWNER)
    node.strangers += [shell.pid, own_shell.pid]
    wait_until(lambda: len(servers_in(node.data)) > 7, 10, "a busy server")
    killed_at = now_ms()
    os.kill(postmaster, signal.SIGKILL)
    exited = node.expect("exited")
    print(f"\npostmaster killed: {exited['killed']} orphans ended, told "
          f"{exited['at'] - killed_at} ms after the signal")
    assert exited["pid"] == postmaster and exited["killed"] >= 1 and exited["left"] == 0
    assert exited["status"] == signal.SIGKILL
    assert not servers_in(node.data)
    assert alive(shell.pid) and alive(own_shell.pid)
    shell.communicate()
    own_shell.communicate()
    # restart in place, under the same lease
    node.start_postgres(1)


def test_clean_stop_and_hard_stop_by_order(node):
    node.start_postgres(0)
    assert node.ask("stop fast").word == "done"
    exited = node.expect("exited")
    assert exited["status"] == 0 and exited["reaped"] == 1 and exited["killed"] == 0
    assert not servers_in(node.data)
    assert node.ask("stop fast").word == "refused"
    node.start_postgres(0)
    Loop(node)
    assert node.ask("stop hard").word == "done"
    exited = node.expect("exited")
    assert exited["status"] == signal.SIGKILL
    assert not servers_in(node.data)
    node.start_postgres(0)


def test_a_start_that_cannot_succeed_says_why(node):
    refused = node.ask(node.start_line(0, "no-such-binary"))
    assert refused.word == "refused" and refused["errno"] == 2 and "executable" in refused.rest
    refused = node.ask(f"start 0 {node.log} {node.dir}/nowhere {PG_BIN}/postgres")
    assert refused.word == "refused" and "data directory" in refused.rest
    refused = node.ask(f"start 0 {node.dir}/no/log {node.data} {PG_BIN}/postgres")
    assert refused.word == "refused" and "log file" in refused.rest
    # the exec works, the server does not: that is an exit
    assert node.ask(node.start_line(0, "postgres", "-c", "no_such_setting=1")).word == "started"
    exited = node.expect("exited")
    assert exited["status"] == 1 << 8
    node.start_postgres(0)


def test_a_running_server_is_adopted_and_fenced(node):
    subprocess.run(
        [f"{PG_BIN}/pg_ctl", "-D", node.data, "-w", "-s", "-l", node.log, "-o",
         f"-p {node.port} -k {node.dir}", "start"], check=True, cwd="/", **AS_OWNER)
    with open(os.path.join(node.data, "postmaster.pid"), encoding="utf-8") as pid_file:
        pid = int(pid_file.readline())
    ticks = int(stat_fields(pid)[19])
    assert node.ask(f"adopt {pid} {ticks + 1}").word == "refused"
    assert node.ask(f"adopt {pid} {ticks}").word == "done"
    node.tell("lease 1500 7")
    node.expect("lease")
    assert node.ask("arm 7").word == "done"
    writer = Writer(node, "w")
    Loop(node)
    writer.advance()
    deadline = node.hold()
    assert node.expect("fenced")["epoch"] == 7
    exited = node.expect("exited")
    writer.join(10)
    assert exited["pid"] == pid and writer.last_ms < deadline
    assert not servers_in(node.data)


# --- orders that are refused ---------------------------------------------------------------------


def test_arming_needs_a_running_lease_of_that_epoch(node):
    assert node.ask("arm 1").word == "refused"  # no lease at all
    assert node.ask(node.start_line(1)).word == "refused"  # not armed
    node.tell("lease 1000 2")
    assert node.ask("arm 1").word == "refused"
    assert node.ask("arm 3").word == "refused"
    assert node.ask("arm 2").word == "done"
    node.tell("lease 60000 3")
    assert node.ask("arm 3").word == "done"  # a newer term of the same holder
    assert node.ask("arm 2").word == "refused"
    assert node.ask(node.start_line(2)).word == "refused"
    node.start_postgres(3)
    assert node.ask("disarm 3").word == "refused"  # it runs
    assert node.ask("disarm 3 pause").word == "done"
    deadline = node.hold()
    node.tell("zero 1000")  # in pause nothing is fenced
    node.tell("ping")
    node.expect("done")
    assert deadline and len(servers_in(node.data)) > 1
    assert node.ask("stop fast").word == "done"
    node.expect("exited")


# --- processes die, freeze and are renewed, and no client notices -------------------------------


def fault_agent_killed(node):
    old = node.lines[-1].pid
    os.kill(old, signal.SIGKILL)
    node.expect("agent_started")
    node.expect("hello")


def fault_agent_frozen(node):
    old = node.lines[-1].pid
    os.kill(old, signal.SIGSTOP)
    node.expect("agent_started")
    node.expect("hello")
    assert not alive(old)


def fault_agent_mute(node):
    node.tell("mute")
    node.expect("agent_started")
    node.expect("hello")


def fault_guard_killed(node):
    os.kill(max(node.guards), signal.SIGKILL)
    node.expect("hello")


def fault_guard_frozen(node):
    old = node.process.pid
    os.kill(old, signal.SIGSTOP)
    hello = node.expect("hello")
    assert hello["guard"] != old
    wait_until(lambda: not alive(old), 5, "the old guard's end")


def fault_upgrade(node):
    # a new file under the same name, as a package installs it
    for name in ("holdfast-guard", "guard_test_agent"):
        path = os.path.join(node.bin, name)
        shutil.copy(path, path + ".new")
        os.rename(path + ".new", path)
    inode = os.stat(node.guard_path()).st_ino
    os.kill(node.process.pid, signal.SIGUSR2)
    node.expect("upgrade")
    node.expect("agent_started")
    hello = node.expect("hello")
    assert hello["guard"] == node.process.pid and hello["child"] == 1
    assert os.stat(f"/proc/{node.process.pid}/exe").st_ino == inode


def fault_upgrade_refused(node):
    old_agent = node.lines[-1].pid
    bad = node.guard_path() + ".new"
    with open(bad, "w", encoding="utf-8") as file:
        file.write("no program")
    os.chmod(bad, 0o755)
    os.rename(bad, node.guard_path())
    os.kill(node.process.pid, signal.SIGUSR2)
    wait_until(lambda: "upgrade_refused" in node.guard_log(), 5, "the refusal")
    assert alive(old_agent)
    assert node.ask("ping").word == "done"


@pytest.mark.parametrize(
    "fault",
    [fault_agent_killed, fault_agent_frozen, fault_agent_mute, fault_guard_killed,
     fault_guard_frozen, fault_upgrade, fault_upgrade_refused],
)
def test_no_client_notices(node, fault):
    ttl = 3000
    postmaster = node.become_primary(ttl)
    writer = Writer(node, "w")
    writer.advance()
    node.tell("ping")
    node.expect("done")
    started = now_ms()
    fault(node)
    took = now_ms() - started
    writer.advance()
    # the lease is renewed and enforced by who is there now
    end = now_ms() + ttl
    wait_until(lambda: now_ms() > end or writer.error, 10, "a whole ttl more")
    writer.advance()
    count = writer.count
    print(f"\n{fault.__name__}: over after {took} ms, {count} writes, longest gap "
          f"{writer.longest_ms} ms, none failed")
    assert alive(postmaster) and node.postmaster == postmaster
    writer.finish()
    assert writer.error is None
    writer = Writer(node, "again")
    deadline = node.hold()
    assert node.expect("fenced")["stage"] == 1
    node.expect("exited")
    writer.join(10)
    assert writer.last_ms < deadline


def test_guard_and_agent_replaced_in_turn(node):
    """After a guard was replaced, its own agent dies, then the guard again, and an upgrade."""
    postmaster = node.become_primary(3000)
    writer = Writer(node, "w")
    os.kill(node.process.pid, signal.SIGKILL)
    second = node.expect("hello")
    old = node.lines[-1].pid
    os.kill(old, signal.SIGKILL)  # the new guard's parent
    agent = node.expect("agent_started")
    hello = node.expect("hello")
    assert agent.pid != old and hello["guard"] == second["guard"]
    os.kill(second["guard"], signal.SIGUSR2)
    node.expect("upgrade")
    assert node.expect("hello")["guard"] == second["guard"]
    os.kill(second["guard"], signal.SIGKILL)
    third = node.expect("hello")
    assert third["guard"] != second["guard"] and third["postmaster"] == postmaster
    writer.advance()
    writer.finish()
    assert writer.error is None and alive(postmaster)


def test_an_upgrade_does_not_make_a_lease_longer(node):
    ttl = 2000
    postmaster = node.become_primary(ttl)
    os.kill(postmaster, signal.SIGSTOP)
    deadline = node.hold()
    node.expect("fenced")
    os.kill(node.process.pid, signal.SIGUSR2)
    second = node.expect("fenced")
    # the agent that the upgrade started may have read the end instead of hearing of it
    ended = node.expect("exited", "hello")
    if ended.word == "hello" and ended["postmaster"] != 0:
        node.expect("exited")
    print(f"\nupgrade in stage 1: killed at deadline-{deadline - second['at']} ms")
    assert second["stage"] == 2 and second["at"] < deadline
    wait_until(lambda: not servers_in(node.data), 5, "nothing left")
    assert now_ms() < deadline + 1000


def test_a_machine_that_slept_does_not_cost_the_agent_its_life(node):
    node.tell("lease 1500 1")
    node.expect("lease")
    node.hold()
    agent = node.lines[-1].pid
    os.kill(node.process.pid, signal.SIGSTOP)
    os.kill(agent, signal.SIGSTOP)
    end = now_ms() + 2000
    wait_until(lambda: now_ms() > end, 5, "time to pass")
    os.kill(node.process.pid, signal.SIGCONT)
    end = now_ms() + 200  # the guard looks while the agent cannot have beaten yet
    wait_until(lambda: now_ms() > end, 5, "time to pass")
    os.kill(agent, signal.SIGCONT)
    assert node.ask("ping").pid == agent


# --- coming and going ----------------------------------------------------------------------------


def test_exit_codes(node):
    node.tell("exit 7")  # anything else: a new agent
    node.expect("hello")
    node.tell("exit 7")
    node.expect("hello")
    node.tell("leave 0")
    assert node.process.wait(5) == 0


def test_configuration_error_ends_the_guard_with_its_code(node):
    node.tell("exit 78")
    assert node.process.wait(5) == 78


def test_leaving_under_an_armed_primary_is_no_leaving(node):
    postmaster = node.become_primary(5000)
    for order in ("leave 0", "exit 78"):
        node.tell(order)
        node.expect("agent_started")
        node.expect("hello")
    assert alive(postmaster)
    assert node.ask("disarm 1 pause").word == "done"
    node.tell("leave 0")
    assert node.process.wait(5) == 0
    assert alive(postmaster)  # pause: it is left running


def test_a_server_that_is_not_its_own_is_left_running_for_good(node):
    postmaster = node.start_postgres(0)
    node.tell("leave 78")  # with its own server: a new agent, whose configuration may be mended
    node.expect("agent_started")
    node.expect("hello")
    node.tell("leave 78 stranger")
    assert node.process.wait(5) == 78
    assert alive(postmaster)


def test_an_armed_primary_is_nobody_elses(node):
    postmaster = node.become_primary(5000)
    node.tell("leave 78 stranger")
    node.expect("agent_started")
    node.expect("hello")
    assert alive(postmaster)


def test_leaving_is_known_of_an_adopted_agent(node):
    os.kill(node.process.pid, signal.SIGKILL)
    guard = node.expect("hello")["guard"]
    node.tell("leave 0")
    wait_until(lambda: not alive(guard), 5, "the guard's end")
    with node.changed:
        assert not [line for line in node.lines[node.seen:] if line.word == "agent_started"]


def test_signals_are_passed_on_and_leaving_survives_the_agent(node):
    os.kill(node.process.pid, signal.SIGHUP)
    node.expect("hup")
    os.kill(node.process.pid, signal.SIGTERM)
    old = node.expect("term").pid
    os.kill(old, signal.SIGKILL)
    assert node.process.wait(5) == 0  # told to leave, and nothing runs


def test_leaving_is_told_to_the_next_agent_while_a_server_runs(node):
    node.start_postgres(0)
    os.kill(node.process.pid, signal.SIGTERM)
    old = node.expect("term").pid
    os.kill(old, signal.SIGKILL)
    assert node.expect("term").pid != old
    node.ask("stop fast")
    node.expect("exited")
    node.tell("leave 0")
    assert node.process.wait(5) == 0


NOTIFY_NAME = f"\0hf-guard-{os.getpid()}"


@pytest.mark.parametrize(
    "node", [{"NOTIFY_SOCKET": NOTIFY_NAME.replace("\0", "@")}], indirect=True
)
def test_a_replacement_is_made_known_as_the_main_process(node):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(NOTIFY_NAME)
        manager.settimeout(5)
        os.kill(node.process.pid, signal.SIGKILL)
        guard = node.expect("hello")["guard"]
        assert manager.recv(100) == f"MAINPID={guard}\n".encode()


@pytest.mark.parametrize(
    "node",
    [{"NOTIFY_SOCKET": NOTIFY_NAME.replace("\0", "@"), "WATCHDOG_USEC": "400000"}],
    indirect=True,
)
def test_the_watchdog_of_systemd_hears_of_guards_only(node):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(NOTIFY_NAME)
        manager.settimeout(5)
        assert [manager.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4
        os.kill(node.process.pid, signal.SIGKILL)
        guard = node.expect("hello")["guard"]
        heard = [manager.recv(100)]
        while not heard[-1].startswith(b"MAINPID="):
            heard.append(manager.recv(100))  # what the old one had said
        assert [manager.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4
        agent = node.ask("ping").pid
        os.kill(int(guard), signal.SIGSTOP)
        os.kill(agent, signal.SIGKILL)
        manager.settimeout(1)
        with pytest.raises(TimeoutError):  # nobody is left to say it
            for _ in range(100):
                manager.recv(100)
        os.kill(int(guard), signal.SIGKILL)


def test_restarts_back_off(node):
    started = now_ms()
    for _ in range(6):
        node.tell("exit 1")
        node.expect("hello")
    took = now_ms() - started
    assert 50 + 100 + 200 + 400 + 800 <= took < 8000  # the first one is immediate


# --- what the children get -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "node",
    [{"PATRONI_SECRET": "x", "HOLDFAST_SECRET": "x", "NOTIFY_SOCKET": "/nowhere", "KEPT": "yes"}],
    indirect=True,
)
def test_the_server_inherits_nothing_of_the_guard(node):
    pid = node.start_postgres(0)
    with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
        names = {entry.partition("=")[0] for entry in file.read().split("\0") if entry}
    hidden = {name for name in names if name.startswith(("HOLDFAST_", "PATRONI_", "NOTIFY_"))}
    assert "KEPT" in names and not hidden
    assert stat_fields(pid)[3] == str(pid)  # field 6: a session of its own
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER and os.getpriority(os.PRIO_PROCESS, pid) >= 0
    with open(f"/proc/{pid}/oom_score_adj", encoding="utf-8") as file:
        server_oom = file.read()
    with open("/proc/self/oom_score_adj", encoding="utf-8") as file:
        assert server_oom == file.read()
    files = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert not [name for name in files if "memfd" in name or "timerfd" in name]


def test_small_and_quiet(node):
    guard = node.process.pid
    node.tell("lease 5000 1")
    node.expect("lease")
    assert node.ask("arm 1").word == "done"

    def ran_ns():
        with open(f"/proc/{guard}/schedstat", encoding="utf-8") as file:
            return int(file.read().split()[0])

    before, started = ran_ns(), now_ms()
    select.select([], [], [], 5)
    used = (ran_ns() - before) / 1e6 / (now_ms() - started)
    with open(f"/proc/{guard}/smaps_rollup", encoding="utf-8") as file:
        pss = int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
    binary = os.path.join(BUILD, "src/guard/holdfast-guard")
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False)
    if linked.returncode == 0:
        pytest.skip("a build with sanitizers is neither static nor small")
    print(f"\nguard: {used:.4%} of a core idle, PSS {pss} KiB, "
          f"{os.path.getsize(binary) // 1024} KiB on disk")
    assert used < 0.001 and pss < 1024
    assert node.ask("disarm 1").word == "done"
