"""The commands that a person types: check on good and bad files, version, ctl list, ctl switchover."""

import json
import os
import re
import socket
import subprocess
import time

import steps
from harness import wait_for

# The configuration of an article that many have started from: for Consul, with the older places of
# the replication user, and with the mistakes that people copy.
ARTICLE = """\
scope: my_pg_cluster
namespace: /service/patroni/my_pg_cluster
restapi:
  listen: 0.0.0.0:8008
  connect_address: 10.0.0.21:8008 # IP of this Patroni node
etcd: # Using Consul as the backend
  host: 10.0.0.10:8500 # Consul server address
  protocol: http
postgresql:
  listen: 0.0.0.0:5432
  connect_address: 10.0.0.21:5432 # IP of this Patroni node
  data_dir: /var/lib/postgresql/15/main
  bin_dir: /usr/lib/postgresql/15/bin
  pg_hba:
  - host replication replicator 0.0.0.0/0 md5
  - host all all 0.0.0.0/0 md5
  replication:
    username: replicator
    password: your_replication_password
  parameters:
    max_connections: 100
    shared_buffers: 128MB
tags:
  nofailover: false
  clonefrom: false
"""

BAD = """\
scope: demo
name: n1
local: {path: /nowhere/store.sock}
restapi:
  listen: 127.0.0.1:99999
  connect_address: 127.0.0.1:8008
bootstrap:
  dcs:
    ttl: soon
    retri_timeout: 1
postgresql:
  listen: 127.0.0.1:25432
  connect_address: 127.0.0.1:25432
  data_dir: relative/path
  authentication:
    superuser: {username: postgres, password: hush-hush}
    replication: {username: replicator, password: more-hush}
  parameters: yes
tags:
  nofailover: maybe
"""


def _check(shared, text, name="bad.yml"):
    path = os.path.join(shared.dir, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    done = steps.run(shared, "check", path)
    return done, path


def _problems(done, path):
    """{(line, key): text} of the errors, {...} of the warnings."""
    found = {"error": {}, "warning": {}, "note": {}}
    pattern = re.compile(rf"(error|warning|note): {re.escape(path)}:?(\d*)[:0-9]*: (?:([a-z_.]+): )?(.*)")
    for line in done.stdout.splitlines():
        match = pattern.match(line)
        if match:
            found[match[1]][(int(match[2] or 0), match[3])] = match[4]
    return found


def test_check_of_the_configuration_of_a_running_node(shared):
    primary = steps.settle(shared)
    done = steps.run(shared, "check", primary.config)
    assert done.returncode == 0 and "0 errors" in done.stdout, done
    assert f"it will be adopted without a restart" in done.stdout
    assert "ttl 2 s" in done.stdout and "up to 2.5 s without writes" in done.stdout
    assert "a failover may lose" in done.stdout and "maximum_lag_on_failover" in done.stdout
    assert shared.password not in done.stdout + done.stderr


def test_check_names_file_line_key_and_remedy(shared):
    steps.settle(shared)
    done, path = _check(shared, BAD)
    assert done.returncode == 1
    found = _problems(done, path)
    errors = found["error"]
    for line, key in ((5, "restapi.listen"), (14, "postgresql.data_dir"),
                      (18, "postgresql.parameters"), (20, "tags.nofailover")):
        assert "remedy: " in errors[(line, key)], (line, key, done.stdout)
    assert len(errors) == 4 and "4 errors" in done.stdout
    assert found["warning"][(10, "bootstrap.dcs.retri_timeout")].endswith(
        'did you mean "retry_timeout"?')
    assert '"soon" is not a time' in done.stdout
    assert "hush" not in done.stdout + done.stderr


def test_check_of_the_article(shared):
    steps.settle(shared)
    done, path = _check(shared, ARTICLE, "article.yml")
    assert done.returncode == 1
    found = _problems(done, path)
    assert found["error"][(6, "etcd")].startswith("this build does not reach this store; remedy: ")
    assert "remedy: " in found["error"][(0, "name")]
    assert "same on all nodes" in found["warning"][(21, "postgresql.parameters.max_connections")]
    assert len(found["error"]) == 2
    assert "your_replication_password" not in done.stdout + done.stderr


def test_check_of_what_is_no_yaml(shared):
    steps.settle(shared)
    done, path = _check(shared, "scope: demo\nname: n1\nrestapi:\n  listen: 1:2\n connect: 1\n")
    assert done.returncode == 1
    assert done.stdout.startswith(f"error: {path}:5:") and "; remedy: " in done.stdout
    done, path = _check(shared, "[1, 2, 3]\n")
    assert done.returncode == 1 and done.stdout.startswith(f"error: {path}")
    done = steps.run(shared, "check", "/nonexistent/holdfast.yml")
    assert done.returncode == 1 and "error: /nonexistent/holdfast.yml: " in done.stdout
    assert "No such file" in done.stdout


def test_an_agent_refuses_what_check_refuses(shared):
    steps.settle(shared)
    _, path = _check(shared, BAD)
    done = steps.run(shared, "agent", path)
    assert done.returncode == 78
    assert f"error: {path}:5: restapi.listen: " in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_version_and_usage(shared):
    done = steps.run(shared, "version")
    assert done.returncode == 0 and re.fullmatch(r"holdfast \d+\.\d+\.\d+\n", done.stdout)
    assert steps.run(shared, "--version").stdout == done.stdout
    for arguments in ((), ("frobnicate",), ("check", "a", "b"), ("agent", "--frobnicate"),
                      ("ctl",), ("ctl", "frobnicate"), ("ctl", "list", "--frobnicate"),
                      ("ctl", "list", "-f", "xml")):
        done = steps.run(shared, *arguments)
        assert done.returncode == 2 and done.stderr, arguments
    done = steps.run(shared, "--help")
    assert done.returncode == 0 and "ctl" in done.stdout


def _listed(shared, primary, form):
    done = steps.ctl(shared, "list", "-f", form)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def _steady(shared, primary):
    """Until the members' keys tell what is the case."""
    def told():
        rows = json.loads(_listed(shared, primary, "json"))
        return {r["Member"]: (r["Role"], r["State"]) for r in rows} == {
            n.name: ("Leader", "running") if n is primary else ("Replica", "streaming")
            for n in shared.nodes}
    wait_for(told, "the members' states")


def test_list_in_all_formats(shared):
    primary = steps.settle(shared)
    _steady(shared, primary)
    timeline = primary.timeline()
    rows = json.loads(_listed(shared, primary, "json"))
    assert [r["Member"] for r in rows] == ["n1", "n2", "n3"]
    for row, node in zip(rows, shared.nodes):
        assert row["Cluster"] == shared.scope and row["TL"] == timeline
        assert row["Host"] == f"127.0.0.1:{node.pg_port}"
        if node is primary:
            assert "Receive LSN" not in row and "Replay Lag" not in row
        else:
            assert re.fullmatch("[0-9A-F]+/[0-9A-F]+", row["Receive LSN"])
            assert row["Receive Lag"] == 0 and row["Replay Lag"] == 0

    lines = _listed(shared, primary, "tsv").splitlines()
    assert lines[0] == "\t".join(["Cluster", "Member", "Host", "Role", "State", "TL", "Receive LSN",
                                  "Receive Lag", "Replay LSN", "Replay Lag"])
    assert len(lines) == 4 and all(len(line.split("\t")) == 10 for line in lines)

    yaml = _listed(shared, primary, "yaml")
    assert yaml == _listed(shared, primary, "yml")
    assert yaml.count("- Cluster: demo\n") == 3 and f"  TL: {timeline}\n" in yaml

    sysid = primary.query("select system_identifier from pg_control_system()")[0][0]
    pretty = _listed(shared, primary, "pretty").splitlines()
    assert pretty[0].startswith(f"+ Cluster: {shared.scope} ({sysid}) -")
    assert [cell.strip() for cell in pretty[1].strip("|").split("|")] == [
        "Member", "Host", "Role", "State", "TL", "Receive LSN", "Lag", "Replay LSN", "Lag"]
    assert len({len(line) for line in pretty}) == 1 and len(pretty) == 7
    leader = next(line for line in pretty if "| Leader " in line)
    assert f"| {primary.name} " in leader
    stamped = steps.ctl(shared, "list", "-t").stdout
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", stamped)
    extended = steps.ctl(shared, "list", "-e").stdout
    assert "Pending restart" in extended and "Tags" in extended


def test_called_by_patronictl_s_name(shared):
    primary = steps.settle(shared)
    name = os.path.join(shared.dir, "bin", "patronictl")
    if not os.path.lexists(name):
        os.symlink("holdfast", name)
    done = subprocess.run([name, "-c", primary.config, "list", "-f", "json"], capture_output=True,
                          text=True, timeout=10, check=True, env={"HOME": shared.dir},
                          **shared.user_options())
    assert [r["Member"] for r in json.loads(done.stdout)] == ["n1", "n2", "n3"]


def test_switchover_asks_and_can_be_refused(shared):
    primary = steps.settle(shared)
    _steady(shared, primary)
    first, second = steps.others(shared, primary)
    done = steps.ctl(shared, "switchover", stdin="\n\n\nn\n")
    assert done.returncode == 1, done
    out = done.stdout
    assert out.startswith("Current cluster topology\n+ Cluster: ")
    assert f"Primary [{primary.name}]: " in out
    assert f"Candidate ['{first.name}', '{second.name}'] []: " in out
    assert re.search(r"When should the switchover take place \(e\.g\. \S+ \)  \[now\]: ", out)
    assert (f"Are you sure you want to switchover cluster {shared.scope}, demoting current leader "
            f"{primary.name}? [y/N]: ") in out
    assert done.stderr == "Error: Aborting switchover\n"

    def refused(stdin, text):
        done = steps.ctl(shared, "switchover", stdin=stdin)
        assert (done.returncode, done.stderr) == (1, text), done

    refused("nobody\n", f"Error: Member nobody is not the leader of cluster {shared.scope}\n")
    refused("\nnobody\n", f"Error: Member nobody does not exist in cluster {shared.scope} or is "
            "tagged as nofailover\n")
    refused(f"\n{primary.name}\n",
            f"Error: Member {primary.name} is already the leader of cluster {shared.scope}\n")
    refused("\n\nyesterday-ish\n", "Error: Unable to parse scheduled timestamp (yesterday-ish). It "
            "should be in an unambiguous format (e.g. ISO 8601)\n")
    refused("", "\nAborted!\n")
    assert steps.wait_leader(shared) is primary

    done = steps.ctl(shared, "switchover", stdin=f"\n{second.name}\n\ny\n")
    assert done.returncode == 0 and done.stderr == "", done
    assert re.search(r"\n?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{5} Successfully switched over to "
                     rf'"{second.name}"\n', done.stdout)
    assert done.stdout.count("+ Cluster: ") == 2  # before and after
    assert steps.wait_leader(shared) is second


def test_ctl_says_what_it_cannot_reach(shared):
    steps.settle(shared)
    stale = os.path.join(shared.dir, "stale.sock")  # of a store that was killed
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(stale)
    os.chmod(stale, 0o777)
    for path, why in (("/nowhere/store.sock", "No such file or directory"),
                      (stale, "Connection refused")):
        for command in ("list", "pause"):
            began = time.monotonic()
            done = steps.run(shared, "ctl", "-d", f"local://{path}", command, shared.scope)
            assert time.monotonic() - began < 3  # at once: waiting does not make it come
            assert done.returncode == 1 and done.stderr.startswith(
                f"Error: no local store listens at {path}: {why}; remedy: "), done
            assert done.stderr.count("\n") == 1 and "holdfast store --dir" in done.stderr, done
    done = steps.run(shared, "ctl", "-c", "/nowhere.yml", "list")
    assert done.returncode == 1
    assert done.stderr == ("Error: Provided config file /nowhere.yml not existing or no read "
                           "rights. Check the -c/--config-file parameter\n")
    done = steps.run(shared, "ctl", "-d", "smoke://signals", "list", "x")
    assert done.returncode == 1 and done.stderr == "Error: Unknown dcs scheme: smoke\n"
