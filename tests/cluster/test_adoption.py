"""A server that runs already, without Holdfast, becomes the leader of a cluster without a restart."""

import os
import signal
import subprocess

from harness import PG_BIN, read_file, wait_for
import steps
import workload


def _standalone(cluster, node):
    """A PostgreSQL with data of its own, started by hand as its administrator would."""
    def tool(name, *arguments):
        subprocess.run([os.path.join(PG_BIN, name), *arguments], check=True, cwd=cluster.dir,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, **cluster.user_options())

    tool("initdb", "-D", node.data_dir, "-U", "postgres", "-A", "trust", "--no-sync", "-k")
    with open(os.path.join(node.data_dir, "postgresql.conf"), "a", encoding="utf-8") as file:
        file.write(f"listen_addresses = '127.0.0.1'\nport = {node.pg_port}\nfsync = off\n"
                   f"unix_socket_directories = '{node.dir}'\nshared_buffers = '16MB'\n"
                   "work_mem = '5MB'\n")
    tool("pg_ctl", "-D", node.data_dir, "-w", "-s", "start")
    assert node.query("create table own as select generate_series(1, 1000) as n") == []
    for role in ("replicator replication", "rewinder"):
        assert node.query(f"create user {role} password '{cluster.password}'") == []


def test_a_running_server_is_adopted_and_cloned_from(unstarted):
    cluster = unstarted()
    node, *replicas = cluster.nodes
    _standalone(cluster, node)
    postmaster = node.postmaster_pid()
    workload.create_table(node)
    with workload.writers(cluster, pinned=True) as writer:
        node.start()
        assert steps.wait_leader(cluster) is node
        for other in replicas:
            other.start()
        cluster.wait_streaming(node, 2)
        writer.wait_more(20)
    assert writer.failure is None, writer.failure
    assert node.postmaster_pid() == postmaster  # the same process, and the client noticed nothing
    for other in replicas:
        wait_for(lambda o=other: o.query("select count(*) from own") == [(1000,)], "its rows")
    assert node.query("select system_identifier from pg_control_system()") == \
        replicas[0].query("select system_identifier from pg_control_system()")
    # It is guarded like any other: killed, it starts again in place.
    os.kill(postmaster, signal.SIGKILL)
    wait_for(lambda: node.postmaster_pid() not in (None, postmaster) and node.is_writable(),
             "the adopted server's restart", 20)
    cluster.wait_streaming(node, 2)
    assert writer.missing(node) == []
    # Its own settings are still its own.
    assert node.query("show work_mem") == [("5MB",)]


def test_a_running_server_of_another_cluster_is_left_alone(unstarted):
    cluster = unstarted(nodes=2)
    node, stranger = cluster.nodes
    node.start()
    steps.wait_leader(cluster, 60)
    _standalone(cluster, stranger)
    postmaster = stranger.postmaster_pid()
    files = {name: read_file(os.path.join(stranger.data_dir, name))
             for name in ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf")}
    log = steps.LogMark(stranger)
    stranger.start()
    log.wait("system ID mismatch: this node belongs to a different cluster")
    assert stranger.process.wait() == 78  # for good: it would end the same way again
    assert log.text().count(" start name=") == 1, log.text()
    assert stranger.own_pids() == []
    assert stranger.postmaster_pid() == postmaster  # not ours: neither stopped nor overwritten
    assert stranger.query("select count(*) from own") == [(1000,)]
    assert {name: read_file(os.path.join(stranger.data_dir, name)) for name in files} == files
    assert node.is_writable()
