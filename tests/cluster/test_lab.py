"""`holdfast lab` as its users meet it: an ordinary user, and root, whose servers run as postgres.

HOLDFAST_BINARY and HOLDFAST_GUARD_BINARY name what was built.
"""
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("HOLDFAST_BINARY", f"{ROOT}/build/holdfast")
GUARD = os.environ.get("HOLDFAST_GUARD_BINARY", f"{ROOT}/build/holdfast-guard")
IS_ROOT = os.getuid() == 0
USERS = ["nobody", "root"] if IS_ROOT else [pwd.getpwuid(os.getuid()).pw_name]
WAIT_S = 60


class Lab:
    """The program in a folder of its own, called as one user with one --dir."""

    def __init__(self, user, program_mode=0o755):
        self.user = pwd.getpwnam(user)
        self.owner = pwd.getpwnam("postgres") if self.user.pw_uid == 0 else self.user
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hflab-", dir="/tmp"))
        self.programs = self.folder / "programs"
        self.programs.mkdir()
        shutil.copy(PROGRAM, self.programs / "holdfast")
        shutil.copy(GUARD, self.programs / "holdfast-guard")
        os.chmod(self.folder, 0o755)
        os.chmod(self.programs, program_mode)
        self.place = self.folder / "place"
        self.place.mkdir()
        os.chown(self.place, self.owner.pw_uid, self.owner.pw_gid)
        if self.user.pw_uid != 0 and IS_ROOT:
            os.chown(self.programs, self.user.pw_uid, self.user.pw_gid)
        self.dir = self.place / "lab"

    def words(self, *words):
        return [str(self.programs / "holdfast"), *words, "--dir", str(self.dir)]

    def settings(self):
        if not IS_ROOT or self.user.pw_uid == 0:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def call(self, *words):
        done = subprocess.run(self.words(*words), capture_output=True, text=True, cwd="/",
                              timeout=300, check=False, **self.settings())
        return done.returncode, done.stdout + done.stderr

    def good(self, *words):
        code, text = self.call(*words)
        assert code == 0, text
        return text

    def status(self):
        """Whole or not, and the words of each node's line by name."""
        code, text = self.call("lab", "status")
        return code == 0, {line.split()[0]: line.split() for line in text.splitlines()
                           if re.match(r"n\d ", line)}

    def await_whole(self):
        return wait_until(lambda: (lambda whole, nodes: nodes if whole else None)(*self.status()),
                          "every node streams")

    def leader(self):
        return next(name for name, words in self.status()[1].items() if words[1] == "primary")

    def processes(self):
        """Command lines of all that belongs to this lab, by argument or by directory."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                where = os.readlink(entry / "cwd")
            except (OSError, ValueError):
                continue
            if any(str(self.dir) in word for word in words) or where.startswith(str(self.dir)):
                found[int(entry.name)] = " ".join(words)
        return found

    def inodes(self):
        return {str((self.dir / name / "data").stat().st_ino) for name in ("n1", "n2", "n3")
                if (self.dir / name / "data").exists()}

    def nothing_left(self, inodes):
        assert not self.dir.exists()
        wait_until(lambda: not self.processes(), "no process")  # zombies: init reaps them in a while
        segments = [line.split() for line in
                    pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        left = [words for words in segments
                if words[0] in inodes and words[7] == str(self.owner.pw_uid)]
        assert not left, left
        return True


def wait_until(condition, what):
    deadline = time.monotonic() + WAIT_S
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture(name="taken_ports", scope="module")
def fixture_taken_ports():
    """5432 and 8008 are somebody else's: ours, or whoever was there before."""
    sockets = []
    for port in (5432, 8008):
        one = socket.socket()
        try:
            one.bind(("0.0.0.0", port))
            one.listen()
        except OSError:
            pass
        sockets.append(one)
    yield
    for one in sockets:
        one.close()


@pytest.fixture(name="make_lab")
def fixture_make_lab(taken_ports):
    labs = []

    def make(*args, **named):
        labs.append(Lab(*args, **named))
        return labs[-1]

    yield make
    for lab in labs:
        lab.call("lab", "down")
        shutil.rmtree(lab.folder, ignore_errors=True)


@pytest.mark.parametrize("user", USERS)
def test_up_break_down_twice(make_lab, user):
    lab = make_lab(user)
    for _ in range(2):
        text = lab.good("lab", "up")
        assert "up after" in text
        whole, nodes = lab.status()
        assert whole and sorted(nodes) == ["n1", "n2", "n3"]
        assert not any(port in word for words in nodes.values() for word in words
                       for port in (":5432", ":8008"))
        code, text = lab.call("lab", "up")
        assert code == 1 and "already running" in text
        owners = {os.stat(f"/proc/{pid}").st_uid for pid in lab.processes()}
        assert owners == {lab.owner.pw_uid}

        leader = lab.leader()
        lab.good("lab", "kill", leader)
        assert f"{lab.dir}/{leader}.yml" not in " ".join(lab.processes().values())
        wait_until(lambda: [w for w in lab.status()[1].values() if w[1] == "primary"],
                   "another primary")
        assert lab.leader() != leader
        lab.good("lab", "start", leader)
        lab.await_whole()
        assert "never two writable servers" in lab.good("drill", "--for", "1s")

        inodes = lab.inodes()
        lab.good("lab", "down")
        assert lab.nothing_left(inodes)


def test_parts_are_killed_one_by_one(make_lab):
    lab = make_lab(USERS[0])
    lab.good("lab", "up")
    for part, column in (("--postmaster", -3), ("--agent", -2), ("--guard", -1)):
        nodes = lab.await_whole()
        leader = lab.leader()
        before = nodes[leader][column]
        text = lab.good("lab", "kill", leader, part)
        assert before in text
        wait_until(lambda: lab.status()[1][leader][column] not in ("-", before), "a successor")
    lab.await_whole()
    lab.good("lab", "freeze", "store")
    lab.good("lab", "thaw", "store")
    inodes = lab.inodes()
    lab.good("lab", "down")
    assert lab.nothing_left(inodes)


def test_down_after_everything_was_killed(make_lab):
    lab = make_lab(USERS[0])
    lab.good("lab", "up")
    inodes = lab.inodes()
    for target in ("n1", "n2", "n3", "store"):
        lab.good("lab", "kill", target)
    lab.good("lab", "down")
    assert lab.nothing_left(inodes)


def test_up_over_the_rest_of_an_earlier_lab(make_lab):
    lab = make_lab(USERS[0])
    lab.good("lab", "up", "--nodes", "1")
    for target in ("n1", "store"):
        lab.good("lab", "kill", target)
    assert "earlier lab" in lab.good("lab", "up", "--nodes", "1")
    lab.good("lab", "down")
    assert lab.nothing_left(set())


def test_interrupted_up_leaves_nothing(make_lab):
    lab = make_lab(USERS[0])
    with subprocess.Popen(lab.words("lab", "up"), stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, cwd="/", **lab.settings()) as starting:
        wait_until(lambda: (lab.dir / "n1/data/PG_VERSION").exists(), "initdb has begun")
        starting.send_signal(signal.SIGINT)
        assert starting.wait(timeout=WAIT_S) == 130
    assert lab.nothing_left(set())


def test_a_directory_of_somebody_else_is_left_alone(make_lab):
    lab = make_lab(USERS[0])
    lab.dir.mkdir()
    os.chown(lab.dir, lab.owner.pw_uid, lab.owner.pw_gid)
    (lab.dir / "precious").write_text("x")
    code, text = lab.call("lab", "up")
    assert code == 1 and "is no lab" in text
    assert (lab.dir / "precious").exists()
    code, _ = lab.call("lab", "down")
    assert code == 0 and (lab.dir / "precious").exists()


@pytest.mark.skipif(not IS_ROOT, reason="only root's programs can be out of postgres' reach")
def test_programs_that_postgres_cannot_reach_are_copied(make_lab):
    lab = make_lab("root", program_mode=0o700)
    lab.good("lab", "up", "--nodes", "1")
    assert any(f"{lab.dir}/bin/" in line for line in lab.processes().values())
    lab.good("lab", "status")
    inodes = lab.inodes()
    lab.good("lab", "down")
    assert lab.nothing_left(inodes)
    code, text = lab.call("lab", "status")
    assert code == 1 and "no lab in" in text and not lab.dir.exists()
