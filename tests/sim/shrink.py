#!/usr/bin/python3
"""Shrinks a failing seed: fewer faults, the same INV still broken; the rest is kept as a small file.

    shrink.py SIM SEED [--hours H] [--out DIR]     finds the fewest faults that still break it
    shrink.py SIM --replay FILE                    runs such a file again, with its trace

Every fault that a seed draws has a number; what is left out is drawn and not done (`sim --skip`). The file
holds seed, hours, the numbers left out, and the trace; a run of it on the same commit is the same to the bit.
"""
import argparse
import pathlib
import re
import subprocess
import sys

FAULTS_MAX = 8191


def run(sim, seed, hours, skip, *options):
    words = [sim, "--seed", str(seed), "--hours", str(hours), "--no-table", *options]
    if skip:
        words += ["--skip", ",".join(f"{a}-{b}" if a != b else str(a) for a, b in ranges(skip))]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def ranges(numbers):
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def broken(text):
    match = re.search(r"^VIOLATED (\S+):", text, re.M)
    return match.group(1) if match else ""


def shrink(sim, seed, hours):
    """-> (INV, the faults that are needed, those left out)"""
    inv = broken(run(sim, seed, hours, ()))
    if not inv:
        return "", (), ()
    drawn = len(re.findall(r" FAULT ", run(sim, seed, hours, (), "--trace")))
    drawn = min(2 * drawn + 16, FAULTS_MAX)  # some that are drawn do not apply, and print two lines
    kept = list(range(drawn))
    rest = list(range(drawn, FAULTS_MAX))
    chunk = max(len(kept) // 2, 1)
    while True:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + chunk:]
            left = sorted(set(range(drawn)) - set(fewer)) + rest
            if broken(run(sim, seed, hours, left)) == inv:
                kept = fewer
            else:
                at += chunk
        if chunk == 1:
            break
        chunk = max(chunk // 2, 1)
    return inv, kept, sorted(set(range(FAULTS_MAX)) - set(kept))


def kept_text(sim, seed, hours, skip):
    """The file's content: a head that a run can be made of again, then its trace."""
    words = ",".join(f"{a}-{b}" if a != b else str(a) for a, b in ranges(skip))
    return f"seed={seed} hours={hours} skip={words}\n" + run(sim, seed, hours, skip)


def replay(sim, path):
    """-> the finished process; its stdout has the trace"""
    head = pathlib.Path(path).read_text(encoding="utf-8").splitlines()[0]
    seed, hours, skip = re.match(r"seed=(\d+) hours=(\S+) skip=(\S*)", head).groups()
    words = [sim, "--seed", seed, "--hours", hours, "--no-table"] + (["--skip", skip] if skip else [])
    return subprocess.run(words, capture_output=True, text=True, check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sim")
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--out", default=".")
    parser.add_argument("--replay", default="")
    args = parser.parse_args()
    if args.replay:
        done = replay(args.sim, args.replay)
        print(done.stdout, end="")
        return done.returncode
    inv, kept, skip = shrink(args.sim, args.seed, args.hours)
    if not inv:
        print(f"seed {args.seed} breaks nothing")
        return 1
    path = pathlib.Path(args.out) / f"seed-{args.seed}.shrunk"
    path.write_text(kept_text(args.sim, args.seed, args.hours, skip), encoding="utf-8")
    print(f"seed {args.seed}: {inv} with {len(kept)} faults; again: shrink.py {args.sim} --replay {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
