#!/usr/bin/python3
"""Runs new seeds of the simulator without end, on all cores; the first that breaks an INV is shrunk and kept.

    soak.py SIM [--from SEED] [--minutes M] [--out DIR]

Seeds are above 10,000 (the wider world) and begin where the clock says, so that every soak has others; what
it began with is printed, and --from begins there again. One line a batch says how far it has come.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

import shrink

BATCH = 25  # virtual hours of one process


def batch(sim, first):
    done = subprocess.run([sim, "--seeds", f"{first}..{first + BATCH - 1}", "--no-table"], text=True,
                          capture_output=True, check=False)
    return done.returncode, done.stdout


def number(name, text):
    match = re.search(rf"^{name} +(\d+)", text, re.M)
    return int(match.group(1)) if match else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sim")
    parser.add_argument("--from", dest="first", type=int, default=10_001 + int(time.time()) % 10**9 * 1000)
    parser.add_argument("--minutes", type=float, default=0, help="0: without end")
    parser.add_argument("--out", default=".")
    args = parser.parse_args()
    workers = os.cpu_count() or 1
    end = time.monotonic() + args.minutes * 60 if args.minutes else float("inf")
    begun, hours, faults, failovers, seed = time.monotonic(), 0, 0, 0, args.first
    print(f"from seed {args.first}, {workers} at a time", flush=True)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        while time.monotonic() < end:
            firsts = [seed + BATCH * i for i in range(workers)]
            for code, text in pool.map(lambda first: batch(args.sim, first), firsts):
                if code != 0:
                    bad = int(re.search(r"^seed (\d+)", text, re.M).group(1))
                    print("\n".join(text.splitlines()[-3:]))
                    inv, kept, skip = shrink.shrink(args.sim, bad, 1.0)
                    path = pathlib.Path(args.out) / f"seed-{bad}.shrunk"
                    path.write_text(shrink.kept_text(args.sim, bad, 1.0, skip), encoding="utf-8")
                    print(f"seed {bad} breaks {inv} with {len(kept)} faults: {path}")
                    return 1
                hours += BATCH
                faults += number("faults", text)
                failovers += number("failovers", text)
            seed += BATCH * workers
            print(f"{hours} virtual hours in {(time.monotonic() - begun) / 60:.1f} min, {faults} faults, "
                  f"{failovers} failovers, nothing broken; next seed {seed}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
