"""A network that breaks between nodes and store: who writes on, who stops, and that never two do."""

import time

import pytest

import steps
from clients import Clients
from field import LOST, TTL_S
from harness import wait_for

TAKEOVER_S = TTL_S + 3  # the ttl, the promotion, and a busy machine


def _others(place, node):
    return steps.others(place.cluster, node)


def _same_primary(place, break_it, seconds=3 * TTL_S, whole_gap_s=1.0):
    """What is broken costs the clients nothing: same server, no failed write, no row missing."""
    primary = place.settle()
    postmaster, timeline = primary.postmaster_pid(), primary.timeline()
    with Clients(place) as clients:
        clients.wait_more(50)
        begun = time.monotonic()
        break_it(primary)
        wait_for(lambda: time.monotonic() - begun > seconds or clients.failures(), "nothing", 60)
        gap_s = clients.max_gap(begun)
        place.heal()
        clients.wait_more(50)
    assert clients.failures() == 0
    assert clients.judge(primary) == []
    assert (primary.postmaster_pid(), primary.timeline()) == (postmaster, timeline)
    assert gap_s < whole_gap_s, f"{gap_s:.2f} s"
    print(f"same primary, longest wait {gap_s * 1000:.0f} ms")


def _another_primary(place, break_it, heals=None):
    """What is broken costs the primary its lease: another one within the bound, then all is one again."""
    primary = place.settle()
    others = _others(place, primary)
    with Clients(place) as clients:
        clients.wait_more(50)
        begun = time.monotonic()
        break_it(primary)
        successor = wait_for(lambda: next((n for n in others if n.is_writable()), None),
                             "another primary", 4 * TTL_S)
        clients.wait_acked_by(successor)
        took_s = next(row.acked for row in clients.rows() if row.node == successor.name) - begun
        clients.wait_more(50)
        (heals or place.heal)()
        successor = place.settle()
        clients.wait_more(50)
    missing = clients.judge(successor)
    assert took_s < TAKEOVER_S, f"{took_s:.2f} s"
    print(f"another primary after {took_s:.2f} s, {len(missing)} rows of the tail missing")
    return missing


def test_the_primary_cut_off_from_everything(place):
    def cut(primary):
        for name in ("n1", "n2", "n3", "c1", "c2", "c3"):
            if name != primary.name:
                place.net.both_ways(primary.name, name, **LOST)
    _another_primary(place, cut)


def test_the_primary_unplugged_clients_and_all(place):
    _another_primary(place, lambda primary: place.net.isolate(primary.name))


def test_the_primary_cut_off_from_the_store_alone(place):
    """The members answer: the lease stands on promises (INV-6)."""
    _same_primary(place, lambda primary: place.net.cut([primary.name], ["c1", "c2", "c3"]))


def test_the_primary_cut_off_from_its_replicas_alone(place):
    """The store answers: it leads on, and what it acknowledges alone is not lost with the healing."""
    _same_primary(place, lambda primary: place.net.cut(
        [primary.name], [n.name for n in _others(place, primary)]))


def test_a_replica_cut_off_from_the_store(place):
    _same_primary(place, lambda primary: place.net.cut(
        [_others(place, primary)[0].name], ["c1", "c2", "c3"]))


def test_the_replicas_cut_off_from_the_store(place):
    _same_primary(place, lambda primary: place.net.cut(
        [n.name for n in _others(place, primary)], ["c1", "c2", "c3"]))


@pytest.mark.parametrize("whole", [1, 2])
def test_the_store_split(place, whole):
    """The primary's server with the minority (its lease then stands on promises), or with the majority."""
    def split(primary):
        mine = place.server_of(primary)
        others = [c for c in ("c1", "c2", "c3") if c != mine]
        if whole == 1:
            place.net.cut([mine], others)
        else:
            place.net.cut([mine, others[0]], others[1:])
    _same_primary(place, split)


@pytest.mark.parametrize("deaf", [True, False])
def test_one_way(place, deaf):
    """The primary hears nobody of nodes and store, or is heard by none: either ends its lease."""
    def cut(primary):
        for name in ("n1", "n2", "n3", "c1", "c2", "c3"):
            if name != primary.name:
                source, target = (name, primary.name) if deaf else (primary.name, name)
                place.net.one_way(source, target, **LOST)
    _another_primary(place, cut)


def test_cut_off_from_the_store_and_one_replica(place):
    """A promise is missing: the writes end with the lease, whoever can takes over."""
    def cut(primary):
        place.net.cut([primary.name], ["c1", "c2", "c3", _others(place, primary)[0].name])
    _another_primary(place, cut)


@pytest.mark.parametrize("policy", [
    {"loss": 10}, {"loss": 50, "delay": 5, "jitter": 20}, {"dup": 300, "delay": 2, "jitter": 10}],
    ids=["1-percent-lost", "5-percent-lost-and-late", "doubled-and-out-of-order"])
def test_a_bad_network_between_all(place, policy):
    def spoil(_):
        for one in ("n1", "n2", "n3", "c1", "c2", "c3"):
            for other in ("n1", "n2", "n3", "c1", "c2", "c3"):
                if one != other:
                    place.net.one_way(one, other, **policy)
    _same_primary(place, spoil)
    print(place.net.order("stat"))


def test_a_network_too_bad_to_lead_in_never_has_two(place):
    """Nothing is promised but safety, and that all is well again after it."""
    primary = place.settle()
    with Clients(place) as clients:
        clients.wait_more(50)
        begun = time.monotonic()
        place.net.one_way("*", "*", loss=300, delay=100, jitter=400, dup=100)
        place.net.both_ways("client", "*")
        wait_for(lambda: time.monotonic() - begun > 5 * TTL_S, "ten seconds", 30)
        place.heal()
        primary = place.settle()
        clients.wait_acked_by(primary)
    print(f"{len(clients.judge(primary))} rows of the tail missing")
