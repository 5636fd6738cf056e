"""Clones, and old primaries whose WAL parted from the cluster's where pg_rewind is not allowed."""

import json
import os
import shutil

import steps
from harness import wait_for


def _configure(node, settings):
    code, text = node.rest("/config", "PATCH", json.dumps({"postgresql": settings}))
    assert code == 200, text


def _sets(node):
    directory = os.path.join(f"{node.data_dir}.holdfast", "wal-set-aside")
    return set(os.listdir(directory)) if os.path.isdir(directory) else set()


def _divergent(shared, mark):
    """A primary that writes what nobody receives, then dies; its successor leads. -> old, new"""
    primary = steps.settle(shared)
    for (pid,) in primary.query("select pid from pg_stat_replication"):
        steps.stop_pid(pid)
    assert primary.query(f"create table {mark} as select generate_series(1, 1000) as n") == []
    primary.kill_all()
    successor = steps.wait_leader(shared, 20, among=steps.others(shared, primary))
    assert successor.query(f"select 1 from pg_class where relname = '{mark}'") == []
    return primary, successor


def test_a_clone_shows_its_progress(shared):
    primary = steps.settle(shared)
    replica = steps.others(shared, primary)[0]
    assert primary.query("create table big as select i, repeat(md5(i::text), 20) as t "
                         "from generate_series(1, 60000) i") == []
    assert replica.terminate() == 0
    shutil.rmtree(replica.data_dir)
    log = steps.LogMark(replica)
    states = set()

    def cloned():
        status = replica.status()
        if status is not None:
            states.add(status["state"])
        member = [m for m in (steps.json_of(primary, "/cluster") or {}).get("members", [])
                  if m["name"] == replica.name]
        states.update("cluster: " + m["state"] for m in member)
        return replica.query("select count(*) from big") == [(60000,)]

    replica.start()
    wait_for(cloned, "the clone", 60, step=0.005)
    progress = log.wait("postgres_clone_progress source=(\\S+) done_bytes=(\\d+) total_bytes=(\\d+)")
    assert progress.group(1) in [n.name for n in shared.nodes]
    assert 0 < int(progress.group(2)) <= int(progress.group(3)) and int(progress.group(3)) > 40e6
    assert "creating replica" in states and "cluster: creating replica" in states, states
    shared.wait_streaming(primary, 2)


def test_divergent_data_is_kept_where_neither_rewind_nor_clone_is_allowed(shared):
    primary = steps.settle(shared)
    _configure(primary, {"use_pg_rewind": False,
                         "remove_data_directory_on_diverged_timelines": False})
    old, successor = _divergent(shared, "kept")
    log = steps.LogMark(old)
    identity = os.stat(os.path.join(old.data_dir, "PG_VERSION"))
    old.start()
    log.wait("verdict=diverged")
    # It stays as it is and serves what it has, as Patroni's would; the rest of the cluster works.
    wait_for(lambda: old.query("select count(*) from kept") == [(1000,)], "its own rows")
    shared.wait_streaming(successor, 1)
    assert successor.is_writable() and not old.is_writable()
    text = log.text()
    assert "action=clone" not in text and "running pg_rewind" not in text
    assert os.stat(os.path.join(old.data_dir, "PG_VERSION")).st_ino == identity.st_ino
    # A person allows it: the running agent goes on at once, the WAL is set aside first.
    before = _sets(old)
    _configure(successor, {"use_pg_rewind": True})
    log.wait("running pg_rewind", 30)
    wait_for(lambda: old.query("select 1 from pg_class where relname = 'kept'") == [], "the rewind")
    shared.wait_streaming(successor, 2)
    assert len(_sets(old) - before) == 1


def test_divergent_data_is_cloned_over_as_the_last_resort(shared):
    primary = steps.settle(shared)
    _configure(primary, {"use_pg_rewind": False,
                         "remove_data_directory_on_diverged_timelines": True})
    old, successor = _divergent(shared, "cloned_over")
    before = _sets(old)
    log = steps.LogMark(old)
    old.start()
    shared.wait_streaming(successor, 2)
    text = log.text()
    assert "reinitializing due to diverged timelines" in text
    assert text.index("postgres_wal_set_aside") < text.index("postgres_data_dir_removed")
    assert len(_sets(old) - before) == 1
    assert old.query("select 1 from pg_class where relname = 'cloned_over'") == []
    _configure(successor, {"use_pg_rewind": True,
                           "remove_data_directory_on_diverged_timelines": None})


def test_a_replica_that_was_only_away_rejoins_without_either(shared):
    primary = steps.settle(shared)
    replica = steps.others(shared, primary)[0]
    replica.kill_all()
    assert primary.query("create table while_away as select 1 as n") == []
    log = steps.LogMark(replica)
    replica.start()
    shared.wait_streaming(primary, 2)
    wait_for(lambda: replica.query("select n from while_away") == [(1,)], "what it missed")
    assert "postgres_wal_set_aside" not in log.text() and "action=clone" not in log.text()
    assert "running pg_rewind" not in log.text()
