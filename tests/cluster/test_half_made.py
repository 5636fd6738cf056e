"""Data directories that initdb or pg_basebackup left half made: nothing is built on them."""

import json
import os
import signal

import steps
from harness import kill_pids, pids, read_file, wait_for

# Refused by the server that initdb runs last, when the directory has nearly everything in it.
FAILS_HALF_WAY = [{"encoding": "UTF8"}, {"locale-provider": "icu"},
                  {"icu-locale": "en@colStrength=bogus"}]


def _change(node, change):
    with open(node.config, encoding="utf-8") as file:
        document = json.load(file)
    change(document)
    with open(node.config, "w", encoding="utf-8") as file:
        json.dump(document, file)


def _pids_of(node, program):
    """That program of PostgreSQL's, at work on the node's data directory."""
    def is_it(pid):
        try:
            exe = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            return False
        return (os.path.basename(exe) == program and
                f"--pgdata={node.data_dir}".encode() in read_file(f"/proc/{pid}/cmdline"))
    return [pid for pid in pids() if is_it(pid)]


def _in_data(node, name):
    return os.path.exists(os.path.join(node.data_dir, name))


def _lose_power(node, program):
    """The node and that program stop at one moment and never go on."""
    at_work = _pids_of(node, program)
    kill_pids(node.pids() + at_work, signal.SIGSTOP)
    kill_pids(at_work, signal.SIGKILL)
    node.kill_all()
    assert at_work and not _pids_of(node, program)


def test_what_a_failing_initdb_left_is_set_aside(unstarted):
    cluster = unstarted(nodes=1)
    node = cluster.nodes[0]
    aside = f"{node.data_dir}.failed"
    good = read_file(node.config)
    _change(node, lambda d: d["bootstrap"].update(initdb=FAILS_HALF_WAY + ["no-clean"]))
    log = steps.LogMark(node)
    node.start()
    assert node.process.wait() != 0
    text = log.text()
    assert "en@colStrength=bogus" in text and "reason=BOOTSTRAP_FAILED" in text, text[-2000:]
    assert f"postgres_set_aside to={aside}" in text, text[-2000:]
    assert not os.path.exists(node.data_dir)
    left = os.listdir(aside)
    assert {"PG_VERSION", "base", "global", "pg_wal"} <= set(left)
    # Mended, it begins anew, and what a person may want to look at is still there.
    with open(node.config, "wb") as file:
        file.write(good)
    node.start()
    assert steps.wait_leader(cluster, 30) is node
    assert os.listdir(aside) == left


def test_an_initdb_that_removed_its_own_work_leaves_nothing_to_set_aside(unstarted):
    cluster = unstarted(nodes=1)
    node = cluster.nodes[0]
    _change(node, lambda d: d["bootstrap"].update(initdb=FAILS_HALF_WAY))
    log = steps.LogMark(node)
    node.start()
    assert node.process.wait() != 0
    assert "reason=BOOTSTRAP_FAILED" in log.text(), log.text()[-2000:]
    assert "postgres_set_aside" not in log.text()
    assert not os.path.exists(f"{node.data_dir}.failed")
    assert os.listdir(node.data_dir) == []


def test_an_initdb_cut_off_half_way_is_not_taken_for_a_cluster(unstarted):
    cluster = unstarted(nodes=1)
    node = cluster.nodes[0]
    node.start()
    wait_for(lambda: _in_data(node, "global/pg_control"), "a half made directory", step=0.002)
    _lose_power(node, "initdb")
    assert _in_data(node, "PG_VERSION") and not _in_data(node, "base/5")  # no database postgres yet
    log = steps.LogMark(node)
    node.start()
    assert steps.wait_leader(cluster, 40) is node
    assert f"postgres_set_aside to={node.data_dir}.failed" in log.text()
    assert node.query("select count(*) from pg_views where viewname = 'pg_stat_activity'") == [(1,)]


def test_a_clone_cut_off_half_way_is_begun_anew(unstarted):
    cluster = unstarted(nodes=2)
    primary, replica = cluster.nodes
    primary.start()
    steps.wait_leader(cluster)
    good = read_file(replica.config)
    _change(replica, lambda d: d["postgresql"].update(basebackup=[{"max-rate": "1M"}]))
    replica.start()
    wait_for(lambda: _in_data(replica, "base"), "a half made clone", step=0.002)
    _lose_power(replica, "pg_basebackup")
    assert not _in_data(replica, "global/pg_control")  # copied last
    with open(replica.config, "wb") as file:
        file.write(good)
    replica.start()
    cluster.wait_streaming(primary, 1, 20)
