#!/usr/bin/python3
"""Shows the shrinking at work: a planted bug is found, shrunk to a few faults, and broken again by the file.

    test_shrink.py SOURCE_ROOT
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import run_plants
import shrink

PLANT = "01-no-margin"
FAULTS_FEW = 12


def main():
    root = os.path.abspath(sys.argv[1])
    cc = os.environ.get("CC", "cc")
    plant = run_plants.Plant(os.path.join(root, "tests/sim/plants", PLANT + ".plant"))
    with tempfile.TemporaryDirectory(prefix="holdfast-shrink-") as out:
        objects = run_plants.build_base(cc, root, out)
        for name in run_plants.apply(plant, root, out):
            objects[name] = os.path.join(out, "planted.o")
            run_plants.compile_one(cc, root, os.path.join(out, name), objects[name])
        sim = os.path.join(out, "sim")
        run_plants.link(cc, objects.values(), sim)
        found = subprocess.run([sim, "--seeds", "1..200", "--quiet"], check=False, text=True,
                               capture_output=True).stdout
        seed = int(re.search(r"^seed (\d+)", found, re.M).group(1))
        inv, kept, skip = shrink.shrink(sim, seed, 1.0)
        if not inv or len(kept) > FAULTS_FEW:
            print(f"seed {seed}: {inv or 'nothing broken'}, {len(kept)} faults left")
            return 1
        path = pathlib.Path(out) / "kept"
        path.write_text(shrink.kept_text(sim, seed, 1.0, skip), encoding="utf-8")
        again = shrink.broken(shrink.replay(sim, path).stdout)
        print(f"{PLANT}: seed {seed}, {inv} with {len(kept)} faults; from the file: {again}")
        return 0 if again == inv else 1


sys.exit(main())
