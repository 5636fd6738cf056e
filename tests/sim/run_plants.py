#!/usr/bin/python3
"""Plants one bug at a time into a copy of the production source and demands that the simulator
catches it, by the INV that the plant names.

    run_plants.py SOURCE_ROOT [--cc CC] [--budget SEEDS] [--only NAME] [--show]

A plant is a text file in tests/sim/plants:

    INV-8 INV-1                     the INVs by which it may be caught
    One sentence: what is wrong.
    === src/core/lease.c            the file to change
    <<<
    lines as they are (they must occur exactly once)
    >>>
    lines as the bug has them
    (more === blocks)

A plant whose old lines are no longer in the source fails: mend it together with the rule.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

FLAGS = ["-std=gnu17", "-O1", "-D_GNU_SOURCE", '-DHOLDFAST_VERSION="plant"', "-w"]


class Plant:
    def __init__(self, path):
        self.name = os.path.splitext(os.path.basename(path))[0]
        with open(path, encoding="utf-8") as file:
            head, *blocks = re.split(r"^=== ", file.read(), flags=re.M)
        lines = head.strip().split("\n")
        self.invs = lines[0].split()
        self.text = " ".join(lines[1:])
        self.edits = []
        for block in blocks:
            name, rest = block.split("\n", 1)
            match = re.fullmatch(r"<<<\n(.*?)\n>>>\n(.*?)\n*", rest, flags=re.S)
            if match is None:
                raise SystemExit(f"{path}: a block is not <<< old >>> new")
            self.edits.append((name.strip(), match.group(1), match.group(2)))
        if not self.edits or not self.invs:
            raise SystemExit(f"{path}: no INV or no edit")


def compile_one(cc, root, source, target):
    subprocess.run([cc, *FLAGS, f"-I{root}/src", f"-I{root}/tests/sim", "-c", source, "-o", target],
                   check=True)


def objects_of(root, out):
    """source -> object, for everything that the simulator is made of."""
    result = {}
    for pattern in ("src/base/*.c", "src/core/*.c", "tests/sim/*.c"):
        for source in sorted(glob.glob(os.path.join(root, pattern))):
            name = os.path.relpath(source, root)
            result[name] = os.path.join(out, name.replace("/", "_") + ".o")
    return result


def build_base(cc, root, out):
    objects = objects_of(root, out)
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        jobs = [pool.submit(compile_one, cc, root, os.path.join(root, name), target)
                for name, target in objects.items()]
        for job in jobs:
            job.result()
    return objects


def link(cc, objects, target):
    subprocess.run([cc, *objects, "-o", target], check=True)


def apply(plant, root, copy):
    """The changed files' names; the copy has them with the bug."""
    changed = []
    for name, old, new in plant.edits:
        path = os.path.join(copy, name)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copy(os.path.join(root, name), path)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if text.count(old) != 1:
            raise LookupError(f"{name}: the lines to change occur {text.count(old)} times:\n{old}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))
        changed.append(name)
    return changed


def try_plant(plant, cc, root, objects, budget, show):
    """None: caught as it should be; else the reason why not."""
    with tempfile.TemporaryDirectory(prefix="holdfast-plant-") as work:
        try:
            changed = apply(plant, root, work)
        except LookupError as error:
            return str(error)
        mine = dict(objects)
        for name in changed:
            mine[name] = os.path.join(work, name.replace("/", "_") + ".o")
            source = os.path.join(work, name)
            try:
                compile_one(cc, root, source, mine[name])
            except subprocess.CalledProcessError:
                return "the planted source does not compile"
        binary = os.path.join(work, "sim")
        link(cc, mine.values(), binary)
        start = time.monotonic()
        run = subprocess.run([binary, "--seeds", f"1..{budget}", "--quiet"], check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if show:
            print(run.stdout)
        if run.returncode == 0:
            return f"not caught in {budget} virtual hours"
        match = re.search(r"VIOLATED (\S+): (.*)\nseed (\d+)", run.stdout)
        if match is None:
            return f"the run ended without naming an INV:\n{run.stdout[-2000:]}"
        print(f"{plant.name}: {match.group(1)} at seed {match.group(3)}, "
              f"{time.monotonic() - start:.1f} s: {match.group(2)}", flush=True)
        if match.group(1) not in plant.invs:
            return f"caught by {match.group(1)}, meant to break {' '.join(plant.invs)}"
        return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"))
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--only")
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    root = os.path.abspath(args.root)
    plants = [Plant(path) for path in sorted(glob.glob(os.path.join(root, "tests/sim/plants/*.plant")))]
    if args.only:
        plants = [plant for plant in plants if args.only in plant.name]
    if not plants:
        raise SystemExit("no plants")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="holdfast-plants-") as out:
        for name in ("src/base", "src/core", "tests/sim"):  # the tree may change under a long run
            shutil.copytree(os.path.join(root, name), os.path.join(out, name))
        root = out
        objects = build_base(args.cc, root, out)
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            results = pool.map(
                lambda plant: try_plant(plant, args.cc, root, objects, args.budget, args.show), plants)
            for plant, reason in zip(plants, results):
                if reason is not None:
                    failed += 1
                    print(f"{plant.name}: FAILED: {reason}", flush=True)
    print(f"{len(plants) - failed} of {len(plants)} planted bugs caught")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
