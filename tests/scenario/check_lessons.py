#!/usr/bin/python3
"""Every lesson and pain of lessons.list has a scenario, a test elsewhere, or says that it is open.

usage: check_lessons.py SOURCE_ROOT

Fails on a number that is missing or there twice, a scenario or test that does not exist, and a
scenario named lNN or pNN that its line does not mention or whose head names another number.
"""

import pathlib
import re
import sys

COUNTS = {"lesson": 100, "pain": 45}
WORDS_MAX = 10


def target_faults(root, where, target):
    kind, *words = target.split()
    if kind == "scenario" and words:
        for name in words:
            if not (root / "tests/scenario" / f"{name}.scenario").is_file():
                yield f"{where}: there is no scenario {name}"
    elif kind == "test" and len(words) == 2:
        path = root / words[0]
        if not path.is_file() or not re.search(rf"\b{words[1]}\b", path.read_text("utf-8")):
            yield f"{where}: no {words[1]} in {words[0]}"
    elif target != "open":
        yield f"{where}: neither scenario, test nor open: {target}"


def read(root):
    """({(kind, number): target}, faults)"""
    entries, faults = {}, []
    lines = (root / "tests/scenario/lessons.list").read_text("utf-8").split("\n")
    for at, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|")]
        match = re.fullmatch(r"(lesson|pain) (\d+)", parts[0])
        where = f"lessons.list:{at}"
        if not match or len(parts) < 3:
            faults.append(f"{where}: not understood")
            continue
        key = (match[1], int(match[2]))
        if key in entries:
            faults.append(f"{where}: {parts[0]} is there twice")
        if len(parts[1].split()) > WORDS_MAX:
            faults.append(f"{where}: more than {WORDS_MAX} words")
        if not parts[2].startswith("scenario") and (len(parts) != 4 or not parts[3]):
            faults.append(f"{where}: says not why")
        entries[key] = parts[2]
        faults += target_faults(root, where, parts[2])
    return entries, faults


def head_faults(path, entries):
    """A scenario's name and head say the same as the list."""
    match = re.match(r"([lp])(\d+)-", path.name)
    if not match:
        return
    key = ({"l": "lesson", "p": "pain"}[match[1]], int(match[2]))
    if path.stem not in entries.get(key, "").split():
        yield f"{path.name}: not in the line of {key[0]} {key[1]}"
    head = re.search(rf"^{key[0]}: ([\d, ]+)", path.read_text("utf-8"), re.M)
    if not head or key[1] not in map(int, re.findall(r"\d+", head[1])):
        yield f"{path.name}: its head does not name {key[0]} {key[1]}"


def main(root):
    entries, faults = read(root)
    for kind, count in COUNTS.items():
        faults += [f"{kind} {n} is missing" for n in range(1, count + 1) if (kind, n) not in entries]
        faults += [f"{kind} {n}: there is no such" for k, n in entries if k == kind and n > count]
    scenarios = sorted((root / "tests/scenario").glob("*.scenario"))
    for path in scenarios:
        faults += head_faults(path, entries)
    print(*faults, sep="\n", end="\n" if faults else "")
    kinds = [target.split()[0] for target in entries.values()]
    print(f"lessons and pains: {len(entries)}; by scenario {kinds.count('scenario')}, "
          f"by another test {kinds.count('test')}, open {kinds.count('open')}; "
          f"{len(scenarios)} scenarios")
    return 1 if faults else 0


sys.exit(main(pathlib.Path(sys.argv[1])))
