#!/usr/bin/python3
"""Random faults on a real cluster, from a seed: every acknowledged row is looked for after every round.

    soak.py [--seed N] [--rounds K] [--record FILE] [--replay FILE] [--keep]

One cluster of three nodes and three Consul servers lives through all rounds. A round is one or two
faults at random moments; then all is healed, a primary is demanded in time (INV-7) and every node has to
stream. The schedule is recorded, a line a round; --replay runs a recorded one again (the moments are the
same, what the machine does in between is not). Ends at the first violation, keeps all logs then, and
says how to come back to it. Needs root.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import statistics
import sys
import time

import field as field_module
import steps
from clients import Clients
from field import LOST, NODES, SERVERS, TTL_S
from harness import is_alive, kill_pids, wait_for

PRIMARY_S = 3 * TTL_S + 5  # INV-7
START_S = 4  # what PostgreSQL may need beside it: a crash recovery on a busy machine
FROZEN_GRACE_S = 0.15  # INV-4: between a machine's thaw and its guard's first run
PROCESSES = ("agent", "guard", "postmaster")


class Violation(Exception):
    """Something happened that no cluster may do."""


# ---- the faults: each breaks something now and returns what mends it ----

class Round:
    """What a round's faults are done to: roles are looked up once, at its beginning."""

    def __init__(self, place, primary, rng):
        self.place, self.net, self.primary, self.rng = place, place.net, primary, rng
        self.replicas = steps.others(place.cluster, primary)
        self.thawed = []  # moments at which a whole machine came back

    def node(self, role):
        return self.primary if role == "primary" else self.replicas[int(role[-1])]

    def pid(self, node, process):
        return {"agent": node.agent_pid, "guard": node.guard_pid,
                "postmaster": node.postmaster_pid}[process]()


def _nothing():
    pass


def isolate(world, role):
    return world.net.mender(world.net.isolate, world.node(role).name)


def cut_store(world, role):
    return world.net.mender(world.net.cut, [world.node(role).name], SERVERS)


def cut_peers(world, role):
    node = world.node(role)
    return world.net.mender(world.net.cut, [node.name], [n for n in NODES if n != node.name])


def cut_nodes_and_store(world, role):
    """The clients still reach it."""
    node = world.node(role)
    return world.net.mender(world.net.cut, [node.name],
                            [n for n in (*NODES, *SERVERS) if n != node.name])


def _one_way(world, name, hears):
    for other in (*NODES, *SERVERS):
        if other != name:
            world.net.one_way(*((name, other) if hears else (other, name)), **LOST)


def deaf(world, role):
    return world.net.mender(_one_way, world, world.node(role).name, False)


def mute(world, role):
    return world.net.mender(_one_way, world, world.node(role).name, True)


def split_store(world, role):
    mine = world.place.server_of(world.node(role))
    return world.net.mender(world.net.cut, [mine], [c for c in SERVERS if c != mine])


def _spoil(world, policy):
    for one in (*NODES, *SERVERS):
        for other in (*NODES, *SERVERS):
            if one != other:
                world.net.one_way(one, other, **policy)


def bad_network(world, role):
    del role
    policy = {"loss": world.rng.choice((10, 50, 100, 300)), "dup": world.rng.choice((0, 100)),
              "delay": world.rng.choice((0, 20, 100)), "jitter": world.rng.choice((5, 50, 300))}
    return world.net.mender(_spoil, world, policy)


def _signal(world, role, process, number):
    pid = world.pid(world.node(role), process)
    if pid is not None:
        kill_pids([pid], number)
    return pid


def kill_agent(world, role):
    _signal(world, role, "agent", signal.SIGKILL)
    return _nothing


def kill_guard(world, role):
    _signal(world, role, "guard", signal.SIGKILL)
    return _nothing


def kill_postmaster(world, role):
    _signal(world, role, "postmaster", signal.SIGKILL)
    return _nothing


def _freeze(world, role, process):
    pid = _signal(world, role, process, signal.SIGSTOP)
    return lambda: kill_pids([pid] if pid is not None and is_alive(pid) else [], signal.SIGCONT)


def freeze_agent(world, role):
    return _freeze(world, role, "agent")


def freeze_guard(world, role):
    return _freeze(world, role, "guard")


def freeze_postmaster(world, role):
    return _freeze(world, role, "postmaster")


def kill_agent_and_guard(world, role):
    """Then as systemd: started again."""
    node = world.node(role)
    kill_pids(node.own_pids(), signal.SIGKILL)
    wait_for(lambda: not node.own_pids(), "the end of guard and agent", 10)
    node.process.wait()
    node.start()
    return _nothing


def kill_node(world, role):
    node = world.node(role)
    mend = world.net.mender(world.net.isolate, node.name)
    node.kill_all()

    def again():
        mend()
        node.start()
    return again


def freeze_node(world, role):
    """Everything of the machine stands still: its network goes on, as a hypervisor's does."""
    node = world.node(role)
    freezer = world.place.freezer(node)
    freezer.freeze()

    def thaw():
        freezer.thaw()
        world.thawed.append(time.monotonic())
    return thaw


def _server(world, role, number):
    server = world.place.store.servers[int(world.place.server_of(world.node(role))[1:]) - 1]
    if number == signal.SIGSTOP:
        server.signal(number)
        return lambda: server.signal(signal.SIGCONT)
    server.stop(number)
    return server.start


def kill_server(world, role):
    return _server(world, role, signal.SIGKILL)


def freeze_server(world, role):
    return _server(world, role, signal.SIGSTOP)


def kill_store_leader(world, role):
    del role
    index = world.place.store_leader()
    if index is None:
        return _nothing
    server = world.place.store.servers[index]
    server.stop(signal.SIGKILL)
    return server.start


def freeze_store(world, role):
    del role
    world.place.store.freeze()
    return world.place.store.thaw


def switchover(world, role):
    """To whom it may be; refused where things stand so."""
    del role
    steps.ctl(world.place.cluster, "switchover", "--force", "--candidate",
              world.rng.choice(world.replicas).name, timeout=90)
    return _nothing


def pause(world, role):
    del role
    steps.ctl(world.place.cluster, "pause", timeout=60)
    return lambda: steps.ctl(world.place.cluster, "resume", timeout=60)


def leave(world, role):
    """SIGTERM: for good, with a handoff; then started again."""
    node = world.node(role)
    kill_pids([pid for pid in [node.guard_pid()] if pid], signal.SIGTERM)

    def again():
        node.process.wait(60)
        node.start()
    return again


# kind: (function, may it touch the primary without costing its place (INV-6), which roles, weight)
ANY, REPLICA, NONE = ("primary", "replica0", "replica1"), ("replica0", "replica1"), ("primary",)
KINDS = {
    "isolate": (isolate, False, ANY, 3),
    "cut_store": (cut_store, True, ANY, 3),
    "cut_peers": (cut_peers, True, ANY, 2),
    "cut_nodes_and_store": (cut_nodes_and_store, False, ANY, 3),
    "deaf": (deaf, False, ANY, 2),
    "mute": (mute, False, ANY, 2),
    "split_store": (split_store, True, ANY, 2),
    "bad_network": (bad_network, False, NONE, 2),
    "kill_agent": (kill_agent, True, ANY, 2),
    "kill_guard": (kill_guard, True, ANY, 2),
    "kill_postmaster": (kill_postmaster, False, ANY, 3),
    "freeze_agent": (freeze_agent, True, ANY, 2),
    "freeze_guard": (freeze_guard, True, ANY, 2),
    "freeze_postmaster": (freeze_postmaster, False, ANY, 1),
    "kill_agent_and_guard": (kill_agent_and_guard, False, ANY, 2),
    "kill_node": (kill_node, False, ANY, 4),
    "freeze_node": (freeze_node, False, ANY, 3),
    "kill_server": (kill_server, True, ANY, 2),
    "freeze_server": (freeze_server, True, ANY, 2),
    "kill_store_leader": (kill_store_leader, True, NONE, 2),
    "freeze_store": (freeze_store, True, NONE, 2),
    "switchover": (switchover, False, NONE, 2),
    "pause": (pause, True, NONE, 1),
    "leave": (leave, False, ANY, 1),
}


def draw(rng, number):
    """A round's schedule: plain data, so that it can be kept and run again."""
    names = list(KINDS)
    faults = []
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.choices(names, [KINDS[name][3] for name in names])[0]
        faults.append({"kind": kind, "role": rng.choice(KINDS[kind][2]),
                       "at_ms": rng.randrange(0, 1500), "for_ms": rng.randrange(100, 5000)})
    return {"round": number, "seed": rng.randrange(1 << 30), "faults": faults}


# ---- a round ----

def _soft(schedule):
    """One fault that costs no primary its place; of a replica, anything."""
    if len(schedule["faults"]) != 1:
        return False
    fault = schedule["faults"][0]
    harmless_kind = KINDS[fault["kind"]][1]
    return harmless_kind or fault["role"] != "primary"


def play(world, schedule):
    """Every fault at its moment, and mended at its moment, in order of time."""
    begun = time.monotonic()
    todo = [(fault["at_ms"], number, fault, None) for number, fault in enumerate(schedule["faults"])]
    while todo:
        todo.sort(key=lambda entry: entry[:2])
        at_ms, number, fault, mend = todo.pop(0)
        wait_for(lambda due=at_ms: (time.monotonic() - begun) * 1000 >= due, "the moment", 60, 0.005)
        if mend is not None:
            mend()
            continue
        mend = KINDS[fault["kind"]][0](world, fault["role"])
        todo.append((at_ms + fault["for_ms"], number, fault, mend))


def mend_all(place):
    place.heal()
    for node in place.nodes:
        if not node.own_pids():
            node.process.wait()
            node.start()
    place.wait_store()


class Judge:
    """What every round has to leave behind."""

    def __init__(self, place, clients):
        self.place, self.clients = place, clients
        self.lost = set()  # rows of an asynchronous tail that are known to be missing
        self.at_thaw = set()  # pairs of rows in the moment of a thaw (INV-4 allows that one)

    def overlaps(self, world):
        found = []
        for older, newer in self.clients.overlaps():
            if any(0 <= older.sent - thaw <= FROZEN_GRACE_S for thaw in world.thawed):
                self.at_thaw.add((older.id, newer.id))
            elif (older.id, newer.id) not in self.at_thaw:
                found.append((older, newer))
        return found

    def check(self, world, primary):
        overlaps = self.overlaps(world)
        if overlaps:
            older, newer = overlaps[0]
            raise Violation(
                f"two writable servers: {older.node} (timeline {older.timeline}) took a commit "
                f"{(older.sent - newer.acked) * 1000:.0f} ms after {newer.node} (timeline "
                f"{newer.timeline}) had; {len(overlaps)} such pairs")
        missing = [row for row in self.clients.missing(primary) if row.id not in self.lost]
        kept = self.clients.beyond_the_budget(missing)
        if kept:
            raise Violation(f"{len(kept)} rows are missing that the limit on lag should have kept, "
                            f"the first of {kept[0].node}, timeline {kept[0].timeline}")
        self.lost |= {row.id for row in missing}
        return missing


def run_round(place, clients, judge, schedule):
    primary = steps.wait_leader(place.cluster, 30)
    postmaster, timeline = primary.postmaster_pid(), primary.timeline()
    failures = clients.failures()
    world = Round(place, primary, random.Random(schedule["seed"]))
    begun = time.monotonic()
    play(world, schedule)
    mend_all(place)
    mended = time.monotonic()
    leader = steps.wait_leader(place.cluster, PRIMARY_S + START_S)
    leader_s = time.monotonic() - mended
    place.cluster.wait_streaming(leader, 2, 90)
    clients.wait_acked_by(leader)
    gap_s = clients.max_gap(begun)
    missing = judge.check(world, leader)
    same = leader is primary and leader.timeline() == timeline
    if _soft(schedule):
        if not same or leader.postmaster_pid() != postmaster:
            raise Violation(f"{primary.name} lost its place to a fault that leaves it healthy (INV-6)")
        if clients.failures() != failures and schedule["faults"][0]["role"] == "primary":
            raise Violation("a write failed although nothing was wrong with the primary")
    return {"same": same, "gap_s": gap_s, "leader_s": leader_s, "missing": len(missing)}


def summary(results, clients, judge, seconds):
    kinds = {}
    for schedule, result in results:
        for fault in schedule["faults"]:
            on = "" if KINDS[fault["kind"]][2] is NONE else (
                " of the primary" if fault["role"] == "primary" else " of a replica")
            kinds.setdefault(fault["kind"] + on, []).append(result)
    print(f"\n{'fault':36} {'rounds':>6} {'others lead':>11} {'write gap, s: median':>21} {'max':>6} "
          f"{'missing':>8}")
    for kind, found in sorted(kinds.items()):
        gaps = [result["gap_s"] for result in found]
        print(f"{kind:36} {len(found):6} {sum(not r['same'] for r in found):11} "
              f"{statistics.median(gaps):21.2f} {max(gaps):6.2f} {sum(r['missing'] for r in found):8}")
    leaders = [result["leader_s"] for _, result in results]
    print(f"\n{len(results)} rounds in {seconds / 60:.0f} min, "
          f"{sum(len(s['faults']) for s, _ in results)} faults, "
          f"{sum(not r['same'] for _, r in results)} changes of the primary, "
          f"{clients.count()} rows acknowledged, {len(judge.lost)} missing (asynchronous tail, within "
          f"the budget), {len(judge.at_thaw)} pairs of rows in the moment of a thaw, 0 other overlaps, "
          f"a primary after the healing in {statistics.median(leaders):.1f} s (at most "
          f"{max(leaders):.1f} s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--record", default="")
    parser.add_argument("--replay", default="")
    parser.add_argument("--keep", action="store_true", help="keep the cluster's directory")
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    build = pathlib.Path(args.build).resolve()
    os.environ.setdefault("HOLDFAST_SWITCH", str(build / "tests/faults/switch"))
    rng = random.Random(args.seed)
    if args.replay:
        lines = pathlib.Path(args.replay).read_text(encoding="utf-8").splitlines()
        schedules = [json.loads(line) for line in lines]
    else:
        schedules = [draw(rng, number) for number in range(1, args.rounds + 1)]
    record = args.record or f"soak-faults-{args.seed}.schedule"
    print(f"seed {args.seed}, {len(schedules)} rounds; the schedule is in {record}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    place = field_module.Field(str(build / "src/main/holdfast"),
                               str(build / "src/guard/holdfast-guard"), args.seed)
    results, begun, bad = [], time.monotonic(), None
    try:
        place.start()
        place.settle()
        with Clients(place) as clients, open(record, "w", encoding="utf-8") as kept:
            judge = Judge(place, clients)
            for schedule in schedules:
                kept.write(json.dumps(schedule) + "\n")
                kept.flush()
                words = ", ".join(f"{f['kind']} {f['role']} at {f['at_ms']} for {f['for_ms']} ms"
                                  for f in schedule["faults"])
                try:
                    result = run_round(place, clients, judge, schedule)
                except Exception as error:  # pylint: disable=broad-except; whatever it was, keep the logs
                    bad = f"round {schedule['round']} ({words}): {type(error).__name__}: {error}"
                    break
                results.append((schedule, result))
                print(f"{schedule['round']:4}  {words}: "
                      f"{'same primary' if result['same'] else 'another leads'}, gap "
                      f"{result['gap_s']:.2f} s, primary {result['leader_s']:.1f} s after the healing, "
                      f"{result['missing']} missing", flush=True)
            if results:
                summary(results, clients, judge, time.monotonic() - begun)
    finally:
        if bad or args.keep:
            logs = f"soak-faults-{args.seed}.logs"
            pathlib.Path(logs).write_text(place.cluster.logs(None), encoding="utf-8")
            print(f"the logs are in {logs}")
        place.close()
    if bad:
        print(f"VIOLATION: {bad}\nagain: tests/faults/soak.py --replay {record}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
