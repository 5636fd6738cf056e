"""primary.demo.service.consul is the primary within a second of any change, and nobody else is."""

import json
import os
import signal
import subprocess
import time

import steps
from field import DNS, SERVERS
from harness import kill_pids, wait_for

CONSUL = {"register_service": True, "service_tags": ["blue"]}
BOUND_S = 1.0


def dig(server, name, kind="A"):
    done = subprocess.run(["dig", "+short", "+time=1", "+tries=1", f"@{server.host}", "-p", str(DNS),
                           f"{name}.demo.service.consul", kind],
                          capture_output=True, text=True, timeout=10, check=False)
    return sorted(line for line in done.stdout.split("\n") if line and not line.startswith(";"))


def wait_dns(place, primary, replicas, without=()):
    """-> how long it took until every server that lives gives the right answers."""
    begun = time.monotonic()
    servers = [s for s in place.store.servers if s.runs() and s not in without]
    hosts = sorted(node.host for node in replicas)

    def right():
        return all(dig(s, "primary") == [primary.host] and dig(s, "master") == [primary.host] and
                   dig(s, "replica") == hosts for s in servers)
    try:
        wait_for(right, "right answers", 10)
    except AssertionError:
        for server in servers:
            print(server.host, [dig(server, role) for role in ("primary", "replica")],
                  server.ask("/v1/catalog/service/demo"))
        raise
    took_s = time.monotonic() - begun
    srv = [line.split() for line in dig(servers[0], "primary", "SRV")]
    assert [fields[2] for fields in srv] == ["5432"], srv
    assert len(dig(servers[0], "replica", "SRV")) == len(replicas)
    return took_s


def _named(place, primary, replicas, what, without=()):
    took_s = wait_dns(place, primary, replicas, without)
    print(f"{what}: right after {took_s * 1000:.0f} ms")
    assert took_s < BOUND_S, f"{what}: {took_s:.2f} s"


def _whole(place):
    primary = place.settle()
    wait_dns(place, primary, steps.others(place.cluster, primary))
    return primary


def _successor(place, primary):
    return wait_for(lambda: next((n for n in steps.others(place.cluster, primary)
                                  if n.is_writable()), None), "another primary", 15)


def test_after_the_bootstrap(place):
    primary = _whole(place)
    status, found = place.store.ask("/v1/catalog/service/demo")
    assert status == 200 and len(found) == 3
    mine = next(entry for entry in found if entry["ServiceID"] == f"demo/{primary.name}")
    assert mine["ServiceTags"] == ["blue", "primary", "master"]
    assert (mine["ServiceAddress"], mine["ServicePort"]) == (primary.host, 5432)


def test_switchover(place):
    primary = _whole(place)
    successor = steps.others(place.cluster, primary)[0]
    steps.ctl(place.cluster, "switchover", "--candidate", successor.name, "--force")
    wait_for(successor.is_writable, "the successor's writes", 10)
    took_s = wait_for(lambda: dig(place.store.servers[0], "primary") == [successor.host], "DNS", 5)
    assert took_s
    place.cluster.wait_streaming(successor, 2)
    _named(place, successor, steps.others(place.cluster, successor), "after a switchover")


def test_the_primary_and_its_consul_lost(place):
    """Nobody is left to take the tag off there: whoever leads now does it."""
    primary = _whole(place)
    server = place.store.servers[int(place.server_of(primary)[1:]) - 1]
    place.net.isolate(place.server_of(primary))
    place.kill_node(primary)
    server.signal(signal.SIGSTOP)
    successor = _successor(place, primary)
    others = steps.others(place.cluster, primary, successor)
    _named(place, successor, others, "primary and Consul lost", without=[server])
    place.heal()
    place.wait_store()
    primary.start()
    place.cluster.wait_streaming(successor, 2)
    # How soon its servers believe again in a Consul that was gone is Consul's own affair.
    took_s = wait_dns(place, successor, steps.others(place.cluster, successor))
    print(f"both back: right after {took_s:.1f} s")


def test_the_primary_lost_and_its_consul_not(place):
    primary = _whole(place)
    place.kill_node(primary)
    successor = _successor(place, primary)
    _named(place, successor, steps.others(place.cluster, primary, successor), "primary lost")
    # Consul's agent there still has the old tags in its own state: it must not put them back.
    server = place.store.servers[int(place.server_of(primary)[1:]) - 1]
    assert server.ask("/v1/agent/service/demo%2F" + primary.name)[0] in (200, 404)
    place.heal()
    primary.start()
    place.cluster.wait_streaming(successor, 2)
    _named(place, successor, steps.others(place.cluster, successor), "it is back")


def test_the_primary_cut_off_from_the_others(place):
    primary = _whole(place)
    place.net.cut([primary.name], ["n1", "n2", "n3", *SERVERS])
    successor = _successor(place, primary)
    _named(place, successor, steps.others(place.cluster, primary, successor), "cut off")
    place.heal()
    place.cluster.wait_streaming(successor, 2)
    _named(place, successor, steps.others(place.cluster, successor), "it is back")


def test_a_replica_that_leaves(place):
    primary = _whole(place)
    gone, other = steps.others(place.cluster, primary)
    gone.terminate()
    _named(place, primary, [other], "a replica left")
    gone.start()
    place.cluster.wait_streaming(primary, 2)
    _named(place, primary, [gone, other], "it is back")


def test_agent_and_postmaster_killed(place):
    primary = _whole(place)
    os.kill(primary.agent_pid(), signal.SIGKILL)
    os.kill(primary.postmaster_pid(), signal.SIGKILL)
    primary = steps.wait_leader(place.cluster, 20)
    place.cluster.wait_streaming(primary, 2)
    _named(place, primary, steps.others(place.cluster, primary), "after a crash")


def test_taken_out_by_hand(place):
    primary = _whole(place)
    server = place.store.servers[int(place.server_of(primary)[1:]) - 1]
    status, _ = server.ask(f"/v1/agent/service/deregister/demo%2F{primary.name}", "PUT")
    assert status == 200
    _named(place, primary, steps.others(place.cluster, primary), "taken out by hand")


def test_consuls_agent_restarted_without_its_state(place):
    primary = _whole(place)
    replica = steps.others(place.cluster, primary)[0]
    server = place.store.servers[int(place.server_of(replica)[1:]) - 1]
    server.stop(signal.SIGKILL)
    server.wipe()
    server.start()
    place.wait_store()
    took_s = wait_dns(place, primary, steps.others(place.cluster, primary))
    print(f"Consul came back empty: right after {took_s:.1f} s")


def test_reload(place):
    """Other tags, then none at all."""
    primary = _whole(place)
    text = open(primary.config, encoding="utf-8").read()
    document = json.loads(text)

    def tell(section):
        document["consul"].update(section)
        with open(primary.config, "w", encoding="utf-8") as file:
            json.dump(document, file)
        kill_pids([primary.guard_pid()], signal.SIGHUP)
    try:
        tell({"service_tags": ["green"]})
        wait_for(lambda: dig(place.store.servers[0], "green") == [primary.host], "the new tag", 5)
        tell({"register_service": False})
        wait_for(lambda: dig(place.store.servers[0], "primary") == [], "its going", 5)
        assert primary.is_writable()
    finally:
        with open(primary.config, "w", encoding="utf-8") as file:
            file.write(text)
        kill_pids([primary.guard_pid()], signal.SIGHUP)
    _named(place, primary, steps.others(place.cluster, primary), "registered again")
