"""What people get wrong: each is refused or waited out with words that say what to do.

One leader runs for the whole file; what goes wrong is a second node, or a cluster of one of its own.
"""

import json
import os
import shutil
import socket

import pytest

import harness
import steps
from harness import read_file, wait_for


@pytest.fixture(scope="module")
def cluster(shared):
    """Two of the three nodes stop for good: their places are for what goes wrong."""
    primary = steps.settle(shared)
    for node in steps.others(shared, primary):
        node.terminate()
    return shared


@pytest.fixture
def leader(cluster):
    return steps.wait_leader(cluster)


@pytest.fixture
def newcomer(cluster):
    """A fourth node, gone after the test."""
    ports = harness.free_ports(2)
    node = harness.Node(cluster, "n4", *ports)
    node.configure()
    cluster.nodes.append(node)  # its log is shown when the test fails
    yield node
    node.kill_all()
    cluster.nodes.remove(node)
    shutil.rmtree(node.dir)


def _change(node, change):
    with open(node.config, encoding="utf-8") as file:
        document = json.load(file)
    change(document)
    with open(node.config, "w", encoding="utf-8") as file:
        json.dump(document, file)


def _refused(node, *texts, code=78):
    """The start ends with that code, and says these things."""
    log = steps.LogMark(node)
    node.start()
    assert node.process.wait(30) == code, log.text()[-2000:]
    text = log.text()
    for wanted in texts:
        assert wanted in text, text[-3000:]
    assert node.cluster.password not in text
    wait_for(lambda: node.pids() == [], "the end of everything it started")


def test_malformed_yaml(newcomer):
    with open(newcomer.config, "w", encoding="utf-8") as file:
        file.write("scope: demo\nname: n4\n  oops: 1\n")
    _refused(newcomer, f"error: {newcomer.config}:3:", "remedy: ")


def test_wrong_types(newcomer):
    _change(newcomer, lambda d: d.update(restapi=[1, 2], postgresql="yes"))
    _refused(newcomer, "restapi: is not a map; remedy: ", "postgresql: is not a map; remedy: ")


def test_no_such_file(newcomer):
    os.unlink(newcomer.config)
    _refused(newcomer, f"error: {newcomer.config}: No such file or directory; remedy: ")


def test_no_postgresql_programs(leader, newcomer):
    _change(newcomer, lambda d: d["postgresql"].update(bin_dir="/nonexistent"))
    done = steps.run(leader.cluster, "check", newcomer.config)
    assert done.returncode == 1
    assert "there is no program postgres in /nonexistent; remedy: " in done.stdout
    log = steps.LogMark(newcomer)
    newcomer.start()
    log.wait("/nonexistent/pg_basebackup")
    assert not os.path.exists(os.path.join(newcomer.data_dir, "PG_VERSION"))


def test_rest_port_taken(leader, newcomer):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", newcomer.rest_port))
        other.listen()
        _refused(newcomer, f"cannot listen on 127.0.0.1:{newcomer.rest_port}", "restapi.listen",
                 "Address already in use")


def test_postgresql_port_taken(leader, newcomer):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", newcomer.pg_port))
        other.listen()
        done = steps.run(leader.cluster, "check", newcomer.config)
        assert done.returncode == 1
        assert f"port {newcomer.pg_port} is taken; remedy: " in done.stdout
        log = steps.LogMark(newcomer)
        newcomer.start()
        # PostgreSQL's own words.
        log.wait(f"postgres_start_failed.*already running on port {newcomer.pg_port}", 30)
        wait_for(lambda: newcomer.status() and newcomer.status()["state"] == "start failed",
                 "the state in REST")
    # The port is free again: the agent goes on by itself.
    leader.cluster.wait_streaming(leader, 1)
    wait_for(lambda: newcomer.query("select 1 from pg_stat_wal_receiver") == [(1,)],
             "the newcomer streams")


def test_data_directory_of_another_cluster(leader, newcomer):
    harness.subprocess.run(
        [os.path.join(harness.PG_BIN, "initdb"), "-D", newcomer.data_dir, "-U", "postgres", "-A",
         "trust", "--no-sync"], check=True, cwd=leader.cluster.dir,
        stdout=harness.subprocess.DEVNULL, **leader.cluster.user_options())
    before = read_file(os.path.join(newcomer.data_dir, "postgresql.conf"))
    _refused(newcomer, "system ID mismatch: this node belongs to a different cluster")
    assert read_file(os.path.join(newcomer.data_dir, "global", "pg_control"))
    assert read_file(os.path.join(newcomer.data_dir, "postgresql.conf")) == before


def test_directory_that_is_not_postgresqls(leader, newcomer):
    os.mkdir(newcomer.data_dir)
    with open(os.path.join(newcomer.data_dir, "thesis.txt"), "w", encoding="utf-8") as file:
        file.write("three years of work")
    leader.cluster.give(newcomer.data_dir)
    log = steps.LogMark(newcomer)
    newcomer.start()
    log.wait("the data directory cannot be used")
    assert read_file(os.path.join(newcomer.data_dir, "thesis.txt")) == b"three years of work"
    assert os.listdir(newcomer.data_dir) == ["thesis.txt"]
    assert leader.is_writable()


def test_wrong_replication_password(leader, newcomer):
    # The leader asks replicas for their password from now on.
    hba = ["local all all trust", "host replication all 127.0.0.1/32 scram-sha-256",
           "host all all 127.0.0.1/32 trust"]
    code, text = leader.rest("/config", "PATCH", json.dumps({"postgresql": {"pg_hba": hba}}))
    assert code == 200, text
    wait_for(lambda: leader.query("select 1 from pg_hba_file_rules where auth_method = "
                                  "'scram-sha-256'"), "the new rule")
    _change(newcomer, lambda d: d["postgresql"]["authentication"]["replication"].update(
        password="not-that-one"))
    log = steps.LogMark(newcomer)
    newcomer.start()
    log.wait('password authentication failed for user "replicator"', 30)
    assert "not-that-one" not in log.text()
    assert leader.is_writable()
    newcomer.kill_all()
    # Put right, it joins.
    _change(newcomer, lambda d: d["postgresql"]["authentication"]["replication"].update(
        password=leader.cluster.password))
    newcomer.start()
    wait_for(lambda: newcomer.query("select 1 from pg_stat_wal_receiver where status = 'streaming'"),
             "the newcomer streams", 30)


def test_two_nodes_of_one_name(leader, newcomer):
    _change(newcomer, lambda d: d.update(name=leader.name))
    postmaster = leader.postmaster_pid()
    log = steps.LogMark(newcomer)
    newcomer.start()
    assert newcomer.process.wait(30) != 0
    assert "name_taken" in log.text(), log.text()[-2000:]
    assert leader.postmaster_pid() == postmaster and leader.rest("/primary")[0] == 200
    assert not os.path.exists(os.path.join(newcomer.data_dir, "PG_VERSION"))


def test_a_parameter_that_postgresql_refuses(leader, newcomer):
    newcomer.start()
    wait_for(lambda: newcomer.query("select 1 from pg_stat_wal_receiver where status = 'streaming'"),
             "the newcomer streams", 30)
    assert newcomer.terminate() == 0
    _change(newcomer, lambda d: d["postgresql"]["parameters"].update(
        shared_preload_libraries="no_such_library"))
    log = steps.LogMark(newcomer)
    newcomer.start()
    log.wait('postgres_start_failed log=".*could not access file "no_such_library"', 30)
    wait_for(lambda: newcomer.status() and newcomer.status()["state"] == "start failed",
             "the state in REST")
    assert newcomer.rest("/health")[0] == 503 and newcomer.rest("/liveness")[0] == 200
    # Put right and told so, it starts.
    _change(newcomer, lambda d: d["postgresql"]["parameters"].pop("shared_preload_libraries"))
    os.kill(newcomer.guard_pid(), harness.signal.SIGHUP)
    wait_for(lambda: newcomer.query("select 1 from pg_stat_wal_receiver where status = 'streaming'"),
             "the newcomer streams", 30)
