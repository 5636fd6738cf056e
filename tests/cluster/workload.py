"""Clients that write all the time and remember what was acknowledged, when, and by whom.

A row counts as acknowledged when COMMIT returned. `missing()` compares with what a server has now;
`max_gap()` is the longest time without an acknowledgement, as one client sees it.
"""

import itertools
import threading
import time

import psycopg2

from harness import wait_for

ROWS_MAX = 10_000_000  # ids of one writer; the next one's begin above
PACE_S = 0.004
_bases = itertools.count(ROWS_MAX, ROWS_MAX)


def dsn_of(nodes, **options):
    """A multi-host connection string that finds the server that accepts writes."""
    hosts = ",".join(n.host for n in nodes)
    ports = ",".join(str(n.pg_port) for n in nodes)
    text = (f"host={hosts} port={ports} user=postgres dbname=postgres connect_timeout=2 "
            "target_session_attrs=read-write")
    return " ".join([text] + [f"{key}={value}" for key, value in options.items()])


class Writer:
    """One client that commits a row each few milliseconds. `with Writer(...) as w:` runs it.

    pinned: it must do with its first connection; the first error ends it and is kept in `failure`.
    """

    def __init__(self, nodes, password, pinned=False):
        self.dsn = dsn_of(nodes, password=password)
        self.pinned = pinned
        self.base = next(_bases)
        self.acks = []  # (id, sent, acknowledged, port)
        self.failure = None
        self.started = self.stopped = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.started = time.monotonic()
        self._thread.start()
        wait_for(lambda: len(self.acks) >= 5 or self.failure, "the first acknowledged rows", 20)
        assert self.failure is None, self.failure
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.stopped is None:
            self._stop.set()
            self._thread.join(30)
            assert not self._thread.is_alive(), "the writer hangs"
            self.stopped = time.monotonic()

    def _run(self):
        number = self.base
        while not self._stop.is_set():
            try:
                connection = psycopg2.connect(self.dsn)
                connection.autocommit = True
                port = connection.info.port
                with connection.cursor() as cursor:
                    while not self._stop.is_set():
                        number += 1
                        sent = time.monotonic()
                        cursor.execute("insert into acked values (%s)", (number,))
                        self.acks.append((number, sent, time.monotonic(), port))
                        self._stop.wait(PACE_S)
                connection.close()
            except psycopg2.Error as error:
                if self.pinned:
                    self.failure = error
                    return
                self._stop.wait(0.01)

    # ---- what it saw ----

    def count(self):
        return len(self.acks)

    def wait_more(self, count=20, timeout=20):
        """Until so many further rows are acknowledged."""
        want = len(self.acks) + count
        wait_for(lambda: len(self.acks) >= want or self.failure,
                 f"{count} more acknowledged rows", timeout)
        assert self.failure is None, self.failure

    def wait_acked_by(self, node, timeout=20):
        wait_for(lambda: self.acks[-1][3] == node.pg_port,
                 f"rows acknowledged by {node.name}", timeout)

    def max_gap(self):
        times = [self.started] + [ack[2] for ack in list(self.acks)]
        times.append(self.stopped if self.stopped is not None else time.monotonic())
        return max(b - a for a, b in zip(times, times[1:]))

    def ports(self):
        """The servers that acknowledged, in order, each as often as it began to."""
        return [port for port, _ in itertools.groupby(ack[3] for ack in list(self.acks))]

    def missing(self, node):
        """Acknowledged rows that this server does not have."""
        acked = {ack[0] for ack in list(self.acks)}
        rows = wait_for(lambda: node.query(
            f"select id from acked where id > {self.base} and id < {self.base + ROWS_MAX}"),
            f"the rows of {node.name}")
        return sorted(acked - {row[0] for row in rows})

    def acked_before(self, number):
        """When that row was acknowledged."""
        return next(ack[2] for ack in self.acks if ack[0] == number)


def writers(cluster, pinned=False):
    return Writer(cluster.nodes, cluster.password, pinned)


def create_table(primary):
    wait_for(lambda: primary.query("create table if not exists acked (id bigint primary key)")
             is not None, "the table of the writers")
