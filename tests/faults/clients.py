"""Clients of every server at once: each row that was acknowledged is known with its server, its time and
its place in the WAL, and the judge says what no cluster may have done.

All namespaces share one machine's clock, so what the clients saw can be put in one order: a commit that
was asked for on one server after another server of a newer timeline had acknowledged one, and that was
acknowledged all the same, is proof of two writable servers.
"""

import itertools
import threading
import time

import psycopg2

from harness import wait_for

PACE_S = 0.005
RETRY_S = 0.01
_bases = itertools.count(10_000_000, 10_000_000)


def lsn_number(text):
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


class Row:
    """One acknowledged row."""
    __slots__ = ("id", "sent", "acked", "node", "timeline", "lsn")

    def __init__(self, number, sent, acked, node, timeline, lsn):
        self.id, self.sent, self.acked = number, sent, acked
        self.node, self.timeline, self.lsn = node, timeline, lsn


class Direct:
    """A client of one server, whoever leads: it writes whenever that server lets it."""

    def __init__(self, node, password):
        self.node = node
        self.dsn = (f"host={node.host} port={node.pg_port} user=postgres password={password} "
                    "dbname=postgres connect_timeout=2 tcp_user_timeout=2000 "
                    "keepalives_idle=1 keepalives_interval=1 keepalives_count=2 "
                    "target_session_attrs=read-write")
        self.base = next(_bases)
        self.rows = []
        self.unknown = []  # sent, and no answer
        self.failures = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), f"the client of {self.node.name} hangs"

    def _run(self):
        number = self.base
        while not self._stop.is_set():
            try:
                connection = psycopg2.connect(self.dsn)
            except psycopg2.Error:
                self._stop.wait(RETRY_S)
                continue
            try:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    while not self._stop.is_set():
                        number += 1
                        self._write(cursor, number)
                        self._stop.wait(PACE_S)
            except psycopg2.Error:
                self.failures += 1
                self.unknown.append(number)
                self._stop.wait(RETRY_S)
            finally:
                connection.close()

    def _write(self, cursor, number):
        """The timeline is that of the WAL the row went into: asked in the same transaction."""
        sent = time.monotonic()
        cursor.execute("insert into acked values (%s) returning pg_current_wal_insert_lsn(), "
                       "pg_walfile_name(pg_current_wal_insert_lsn())", (number,))
        lsn, segment = cursor.fetchone()
        self.rows.append(Row(number, sent, time.monotonic(), self.node.name, int(segment[:8], 16),
                             lsn_number(lsn)))


class Optime(threading.Thread):
    """The positions that primaries published, as the store tells them."""

    def __init__(self, store, scope):
        super().__init__(daemon=True)
        self.store, self.scope = store, scope
        self.published = {}  # timeline: the highest
        self.stopping = threading.Event()

    def run(self):
        import base64
        import json
        while not self.stopping.wait(0.1):
            for server in self.store.servers:
                status, found = server.ask(f"/v1/kv/service/{self.scope}/status")
                if status == 200 and found:
                    value = json.loads(base64.b64decode(found[0]["Value"]))
                    timeline = value.get("timeline", 0)
                    self.published[timeline] = max(self.published.get(timeline, 0),
                                                   value["optime"])
                    break


class Clients:
    """`with Clients(field) as clients:` writes all the time; then `clients.judge(primary)`."""

    def __init__(self, field):
        self.direct = [Direct(node, field.cluster.password) for node in field.nodes]
        self.optime = Optime(field.store, field.cluster.scope)
        self.max_lag = field.cluster.dcs["maximum_lag_on_failover"]

    def __enter__(self):
        self.optime.start()
        for client in self.direct:
            client.start()
        wait_for(lambda: self.count() >= 5, "the first acknowledged rows", 20)
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for client in self.direct:
            client.stop()
        self.optime.stopping.set()
        self.optime.join()

    def rows(self):
        return sorted((row for client in self.direct for row in list(client.rows)),
                      key=lambda row: row.acked)

    def count(self):
        return sum(len(client.rows) for client in self.direct)

    def failures(self):
        return sum(client.failures for client in self.direct)

    def wait_more(self, count=20, timeout=30):
        want = self.count() + count
        wait_for(lambda: self.count() >= want, f"{count} more acknowledged rows", timeout)

    def wait_acked_by(self, node, timeout=30):
        client = next(c for c in self.direct if c.node is node)
        want = len(client.rows) + 1
        wait_for(lambda: len(client.rows) >= want, f"rows acknowledged by {node.name}", timeout)

    # ---- what they saw ----

    def max_gap(self, since=0.0):
        times = [row.acked for row in self.rows() if row.acked >= since]
        return max((b - a for a, b in zip([since or times[0], *times], times)), default=0.0)

    def overlaps(self):
        """Pairs of rows that prove two writable servers: (the older one's, the newer one's)."""
        found = []
        first = {}  # timeline: its first acknowledged row
        for row in self.rows():
            first.setdefault(row.timeline, row)
        for row in self.rows():
            for timeline, newer in first.items():
                if timeline > row.timeline and row.sent > newer.acked and row.node != newer.node:
                    found.append((row, newer))
            same = first[row.timeline]
            if same.node != row.node:
                found.append((row, same))
        return found

    def missing(self, primary):
        acked = self.rows()  # first: what is acknowledged from here on is not asked for
        have = set()
        for client in self.direct:
            ids = [row.id for row in acked if row.node == client.node.name]
            if ids:
                have |= {row[0] for row in wait_for(lambda c=client, last=max(ids): primary.query(
                    f"select id from acked where id between {c.base} and {last}"),
                    f"the rows of {client.node.name} on {primary.name}")}
        return [row for row in acked if row.id not in have]

    def beyond_the_budget(self, missing):
        """Of the missing rows those that the limit on lag should have kept: they lie at or below what their
        own primary had published, less maximum_lag_on_failover."""
        return [row for row in missing
                if row.lsn <= self.optime.published.get(row.timeline, 0) - self.max_lag]

    def judge(self, primary):
        """Fails on what may never happen. -> the rows of the asynchronous tail that are missing"""
        overlaps = self.overlaps()
        assert not overlaps, "two writable servers: " + "; ".join(
            f"{a.node} (timeline {a.timeline}) took a commit {(a.sent - b.acked) * 1000:.0f} ms after "
            f"{b.node} (timeline {b.timeline}) had" for a, b in overlaps[:3])
        missing = self.missing(primary)
        kept = self.beyond_the_budget(missing)
        assert not kept, f"{len(kept)} rows are missing that the limit on lag should have kept"
        return missing
