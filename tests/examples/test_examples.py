#!/usr/bin/python3
"""Everything in examples/ is what its reader believes it to be.

usage: test_examples.py SOURCE_ROOT HOLDFAST
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def units(folder, scratch, holdfast):
    """systemd-analyze says nothing at all about any unit."""
    for unit in sorted(folder.glob("*.service")):
        text = unit.read_text(encoding="utf-8").replace("/usr/local/bin/holdfast", holdfast)
        copy = scratch / unit.name
        copy.write_text(text, encoding="utf-8")
        status, said = run("systemd-analyze", "verify", "--man=no", str(copy))
        if status != 0 or said:
            yield f"{unit.name}: {said or status}"


def consul(folder, scratch):
    for kind in ("server", "client"):
        place = scratch / kind
        place.mkdir()
        for name in ("common", kind):
            text = (folder / f"consul-{name}.json").read_text(encoding="utf-8")
            document = json.loads(text)
            if "encrypt" in document:
                document["encrypt"] = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="
            (place / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
        status, said = run("consul", "validate", str(place))
        if status != 0:
            yield f"consul, {kind}: {said}"


def configuration(folder, scratch, holdfast):
    copy = scratch / "holdfast.yml"
    copy.write_text((folder / "holdfast.yml").read_text(encoding="utf-8"), encoding="utf-8")
    copy.chmod(0o600)
    status, said = run(holdfast, "check", str(copy))
    faults = [line for line in said.splitlines() if re.match(r"error|.*unknown key", line)]
    if status != 0 or faults:
        yield f"holdfast.yml: {said}"


def main(root, holdfast):
    folder = pathlib.Path(root) / "examples" / "three-hosts"
    faults = []
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        faults += units(folder, scratch, holdfast)
        faults += consul(folder, scratch)
        faults += configuration(folder, scratch, holdfast)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
