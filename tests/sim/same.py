#!/usr/bin/python3
"""Runs seeds of the simulator twice, in other surroundings, and demands the same run to the bit.

    same.py SIM

The number that `--hash` prints is over everything that happened. Another seed must give another one.
"""
import os
import subprocess
import sys

SEEDS = (1, 78, 1234, 10001, 10126)


def run(sim, seed, *options, **env):
    done = subprocess.run([sim, "--seed", str(seed), "--quiet", "--hash", *options], check=True,
                          capture_output=True, text=True, env={**os.environ, **env})
    return next(line for line in done.stdout.splitlines() if line.startswith("seed "))


def main():
    sim = sys.argv[1]
    hashes = set()
    for seed in SEEDS:
        plain = run(sim, seed)
        again = run(sim, seed, "--trace", LC_ALL="C", SURROUNDINGS="x" * 5000, MALLOC_PERTURB_="85")
        if plain != again:
            print(f"seed {seed}: {plain!r}, then {again!r}")
            return 1
        hashes.add(plain.split()[-1])
    if len(hashes) != len(SEEDS):
        print("different seeds, the same run")
        return 1
    print(f"{len(SEEDS)} seeds, each the same twice: {' '.join(sorted(hashes))}")
    return 0


sys.exit(main())
