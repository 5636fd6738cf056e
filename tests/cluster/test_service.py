"""What a service manager is told: readiness, what goes on, and that somebody is there."""

import os
import signal
import socket

import pytest

import steps


class Manager:
    """The socket of a service manager, and what was said there."""

    def __init__(self, name):
        self.address = f"@{name}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{name}")
        self.heard = []

    def env(self, watchdog_ms):
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(watchdog_ms * 1000)}

    def wait(self, begin, seconds=30):
        """The next assignment that begins so."""
        self.socket.settimeout(seconds)
        while True:
            for line in self.socket.recv(4096).decode().splitlines():
                self.heard.append(line)
                if line.startswith(begin):
                    return line


@pytest.fixture(name="manager")
def fixture_manager():
    manager = Manager(f"hf-service-{os.getpid()}")
    yield manager
    manager.socket.close()


def test_readiness_status_and_watchdog(unstarted, manager):
    node = unstarted(nodes=1).nodes[0]
    log = steps.LogMark(node)
    node.start(manager.env(watchdog_ms=800))
    manager.wait("READY=1")
    manager.wait("STATUS=no action. I am (n1), the leader with the lock")
    assert "WATCHDOG=1" in manager.heard
    assert "watchdog_ms" not in log.text()
    os.kill(node.process.popen.pid, signal.SIGTERM)
    manager.wait("STOPPING=1")
    assert node.process.wait() == 0


def test_a_watchdog_slower_than_the_lease_is_told(unstarted, manager):
    cluster = unstarted(nodes=1)
    node = cluster.nodes[0]
    log = steps.LogMark(node)
    node.start(manager.env(watchdog_ms=5000))
    assert steps.wait_leader(cluster, 30) is node
    log.wait("watchdog_ms=5000 ttl_ms=2000 .*WatchdogSec=1000ms")
