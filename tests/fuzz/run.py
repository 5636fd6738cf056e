#!/usr/bin/python3
"""Runs libFuzzer over the kept inputs, with a fixed seed, in a scratch folder.

usage: run.py FUZZER CORPUS NAME RUNS        so many inputs, always the same ones: the test
       run.py FUZZER CORPUS --soak SECONDS [NAME]...
                                              each fuzzer (all without NAME) for so long; what it
                                              learnt joins the kept inputs, minimised

What it finds is written to the current folder and named; then it fails.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

LIMITS = ["-rss_limit_mb=1024", "-timeout=10"]


def run(fuzzer, name, options, folders):
    command = [fuzzer, *LIMITS, f"-artifact_prefix=found-{name}-", *options, *map(str, folders)]
    result = subprocess.run(command, env=os.environ | {"HOLDFAST_FUZZ": name}, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    lines = result.stdout.splitlines()
    if result.returncode != 0:
        print(*lines[-60:], sep="\n")
    print(f"{name}: {[line for line in lines if 'DONE' in line or 'MERGE-OUTER' in line][-1:]}",
          flush=True)
    return result.returncode == 0


def soak(fuzzer, corpus, seconds, names):
    good = True
    for name in names or sorted(path.name for path in corpus.iterdir()):
        with tempfile.TemporaryDirectory() as scratch:
            options = [f"-max_total_time={seconds}", f"-seed={int(time.time()) % 2**31 + 1}"]
            good = run(fuzzer, name, options, [scratch, corpus / name]) and good
            good = run(fuzzer, name, ["-merge=1", "-use_counters=0"],
                       [corpus / name, scratch]) and good
    return good


def main():
    fuzzer, corpus, what, number, *names = sys.argv[1:]
    corpus = pathlib.Path(corpus)
    if what == "--soak":
        return soak(fuzzer, corpus, int(number), names)
    with tempfile.TemporaryDirectory() as scratch:
        return run(fuzzer, what, ["-seed=1", f"-runs={number}"], [scratch, corpus / what])


sys.exit(0 if main() else 1)
