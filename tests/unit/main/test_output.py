#!/usr/bin/python3
"""An answer that did not get out is no success (main.c: finish).

usage: test_output.py HOLDFAST
"""

import subprocess
import sys

HOLDFAST = sys.argv[1]
WHOLE = subprocess.run([HOLDFAST, "version"], check=True, capture_output=True, text=True)
assert WHOLE.stdout.startswith("holdfast ") and WHOLE.stderr == "", WHOLE

with open("/dev/full", "w", encoding="utf-8") as full:
    for arguments in (["version"], ["--help"]):
        lost = subprocess.run([HOLDFAST, *arguments], check=False, stdout=full,
                              stderr=subprocess.PIPE, text=True)
        assert lost.returncode == 1, lost
        assert lost.stderr == "holdfast: cannot write to standard output\n", lost
    wrong = subprocess.run([HOLDFAST, "no-such-command"], check=False, stdout=full,
                           stderr=subprocess.PIPE, text=True)
    assert wrong.returncode == 2, wrong  # the command's own status stands
