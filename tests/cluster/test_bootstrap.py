"""A cluster from nothing: what initdb is told, who may log in, who wins when all begin at once."""

import datetime
import json
import os
import re
import signal

import steps
from harness import read_file, wait_for


def _seconds(stamp):
    """Of a log line's date and milliseconds."""
    moment = datetime.datetime.strptime(stamp[0], "%Y-%m-%d %H:%M:%S")
    return moment.timestamp() + int(stamp[1]) / 1000


def _change(node, change):
    with open(node.config, encoding="utf-8") as file:
        document = json.load(file)
    change(document)
    with open(node.config, "w", encoding="utf-8") as file:
        json.dump(document, file)


def test_options_roles_and_access(unstarted):
    cluster = unstarted()

    def change(document):
        document["bootstrap"]["initdb"] = [{"encoding": "UTF8"}, {"locale": "C"},
                                           {"wal-segsize": "4"}, "data-checksums"]
        document["bootstrap"]["pg_hba"] = [
            "local all all trust", "host replication replicator 127.0.0.1/32 scram-sha-256",
            "host all all 127.0.0.1/32 scram-sha-256"]
        document["bootstrap"]["dcs"]["postgresql"]["parameters"] = {"max_connections": 60}

    for node in cluster.nodes:
        _change(node, change)
        node.start()
    primary = steps.wait_leader(cluster, 60)
    cluster.wait_streaming(primary, 2)
    assert primary.query("show server_encoding") == [("UTF8",)]
    assert primary.query("select datcollate from pg_database where datname = 'postgres'") == [("C",)]
    assert primary.query("show wal_segment_size") == [("4MB",)]
    assert primary.query("show data_checksums") == [("on",)]
    roles = dict(primary.query("select rolname, (rolsuper, rolreplication, rolcanlogin)::text "
                               "from pg_roles where rolname !~ '^pg_'"))
    assert roles == {"postgres": "(t,t,t)", "replicator": "(f,t,t)", "rewinder": "(f,f,t)"}
    assert primary.query("select has_function_privilege('rewinder', "
                         "'pg_read_binary_file(text, bigint, bigint, boolean)', 'execute')") == \
        [(True,)]
    for node in cluster.nodes:
        assert node.query("show max_connections") == [("60",)]
        hba = read_file(os.path.join(node.data_dir, "pg_hba.conf")).decode()
        assert "host replication replicator 127.0.0.1/32 scram-sha-256" in hba
        assert cluster.password not in read_file(node.log).decode()
    # All three began at once: one cluster, made once.
    made = [n for n in cluster.nodes if "action=initdb begins" in steps.log_text(n)]
    assert len(made) == 1
    assert len({str(n.query("select system_identifier from pg_control_system()"))
                for n in cluster.nodes}) == 1
    assert len(cluster.writable()) == 1


def test_a_failing_option_is_told_and_the_next_start_works(unstarted):
    cluster = unstarted(nodes=1)
    node = cluster.nodes[0]
    good = read_file(node.config)
    _change(node, lambda document: document["bootstrap"].update(
        initdb=[{"encoding": "UTF8"}, {"locale": "xx_NOWHERE"}]))
    log = steps.LogMark(node)
    node.start()
    assert node.process.wait() != 0
    text = log.text()
    assert 'invalid locale name "xx_NOWHERE"' in text, text[-2000:]
    assert "reason=BOOTSTRAP_FAILED" in text
    assert not os.path.exists(os.path.join(node.data_dir, "PG_VERSION"))
    # Mended, it begins anew: nothing of the failure stands in the way.
    with open(node.config, "wb") as file:
        file.write(good)
    node.start()
    assert steps.wait_leader(cluster, 30) is node


def test_a_first_start_that_fails_is_told_and_goes_on_when_put_right(unstarted):
    cluster = unstarted(nodes=1)
    node = cluster.nodes[0]
    good = read_file(node.config)
    _change(node, lambda document: document["postgresql"]["parameters"].update(
        shared_preload_libraries="no_such_library"))
    log = steps.LogMark(node)
    node.start()
    # PostgreSQL's own words.
    log.wait('postgres_start_failed log=".*FATAL:  could not access file "no_such_library"', 30)
    wait_for(lambda: node.status() and node.status()["state"] != "running", "the state in REST")
    # Tried again, but ever more rarely: what counts is the time from a failure to the next try.
    log.wait(r"(?s)" + ".*".join(["postgres_start_failed"] * 5))
    at = r"(?m)^(\S+ \S+),(\d+) \S+ postgres_"
    failed = re.findall(at + "start_failed", log.text())
    begun = re.findall(at + "action action=start_primary begins", log.text())
    pauses = [_seconds(next_one) - _seconds(one) for one, next_one in zip(failed, begun[1:])]
    assert pauses[2] >= 0.95 and pauses[3] >= 1.95, pauses  # doubled, up to a ttl
    # What a person has mended is tried at once.
    with open(node.config, "wb") as file:
        file.write(good)
    os.kill(node.guard_pid(), signal.SIGHUP)
    assert steps.wait_leader(cluster, 30) is node


def test_a_bootstrap_that_dies_half_way_is_taken_over(unstarted):
    cluster = unstarted(nodes=2)
    for node in cluster.nodes:
        node.start()
    first = wait_for(lambda: [n for n in cluster.nodes
                              if "action=initdb begins" in steps.log_text(n)], "initdb")[0]
    first.kill_all()
    other = steps.others(cluster, first)[0]
    # Its claim goes with its session; then the other one makes the cluster.
    assert steps.wait_leader(cluster, 60) is other
    assert os.path.isdir(other.data_dir)
