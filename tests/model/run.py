#!/usr/bin/python3
"""Checks the model of the lease: every focus exhaustively, every dropped rule for its trail.

    run.py [--soak] [--only NAME]... [--jobs N] [--list] [--trail NAME]

A focus has to end without an error, with its whole state space searched: a search that was cut (by
depth, time or memory) fails. A focus with a rule dropped has to break the INV that is named. Needs
spin and a C compiler (CC).
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE / 'lease.pml'
MEMORY_MB_MAX = 6000
DEPTH_MAX = 8_000_000
SECONDS_MAX = {'test': 120, 'soak': 4 * 3600}

# What a failed assertion of the model is about.
INVARIANTS = (('bare', 'INV-7'), ('phase', 'INV-6'), ('pg[', 'INV-1'))


class Job:
    """One run: flags, the INV that has to break (None: none), and where it runs."""

    def __init__(self, line):
        name, expected, where, flags = [field.strip() for field in line.split('|')]
        self.name, self.where = name, where
        self.expected = None if expected == '-' else expected
        self.flags = ['-D' + flag for flag in flags.split()]


def load_jobs():
    lines = (HERE / 'runs').read_text(encoding='utf-8').splitlines()
    return [Job(line) for line in lines if line and not line.startswith('#')]


def compile_job(job, folder):
    shutil.copy(MODEL, folder)
    made = subprocess.run(['spin', '-a', *job.flags, MODEL.name], cwd=folder, text=True,
                          capture_output=True, check=False)
    if made.returncode != 0 or 'Error' in made.stdout:
        raise RuntimeError(f'{job.name}: spin: {made.stdout}{made.stderr}')
    compiler = os.environ.get('CC', 'cc').split()
    built = subprocess.run([*compiler, '-O2', '-w', '-DSAFETY', '-DNOFAIR', '-DVECTORSZ=1024',
                            f'-DMEMLIM={MEMORY_MB_MAX}', '-o', 'pan', 'pan.c'],
                           cwd=folder, text=True, capture_output=True, check=False)
    if built.returncode != 0:
        raise RuntimeError(f'{job.name}: {built.stderr}')


def number(pattern, text):
    found = re.search(pattern, text)
    return float(found.group(1)) if found else -1.0


def judge(job, text):
    """What is wrong with this run, or ''."""
    if number(r'errors: (\d+)', text) < 0:
        return 'the search did not finish'
    broken = re.search(r'assertion violated (.*)', text)
    if broken:
        inv = next((inv for word, inv in INVARIANTS if word in broken.group(1)), '?')
        return '' if inv == job.expected else f'{inv} is broken'
    for cut in ('max search depth', 'not completed', 'out of memory', 'truncated', 'invalid end state ('):
        if cut in text:
            return f'the search was cut: {cut}'
    if 'Full statespace search' not in text or 'Bit statespace' in text:
        return 'not a full search'
    if number(r'errors: (\d+)', text) != 0:
        return 'another error'
    return f'{job.expected} was not broken' if job.expected else ''


def run(job, keep_trail=False):
    with tempfile.TemporaryDirectory(prefix='model-') as folder:
        compile_job(job, folder)
        begun = time.monotonic()
        try:
            ran = subprocess.run(['./pan', f'-m{DEPTH_MAX}', '-w22'], cwd=folder, text=True,
                                 capture_output=True, check=False,
                                 timeout=SECONDS_MAX[job.where])
            text = ran.stdout + ran.stderr
        except subprocess.TimeoutExpired:
            text = ''
        seconds = time.monotonic() - begun
        wrong = judge(job, text)
        trail = ''
        if keep_trail and (pathlib.Path(folder) / (MODEL.name + '.trail')).exists():
            trail = subprocess.run(['spin', '-t', '-T', *job.flags, MODEL.name], cwd=folder,
                                   text=True, capture_output=True, check=False).stdout
    states = int(number(r'(\d+) states, stored', text))
    depth = int(number(r'depth reached (\d+)', text))
    memory_mb = number(r'([0-9.]+)\s+total actual memory', text)
    row = (f'{job.name:22} {job.expected or "holds":6} {states:10} {depth:8} {seconds:7.1f} '
           f'{memory_mb:7.0f}  {wrong or "ok"}')
    return row, wrong, trail


def show_trail(job):
    _, wrong, trail = run(job, keep_trail=True)
    steps = trail.split('spin:', maxsplit=1)[0]
    print(steps.strip() or f'no trail: {wrong or "no error"}')
    return 0 if trail else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--soak', action='store_true', help='also the runs that take long')
    parser.add_argument('--only', action='append', default=[], metavar='NAME')
    parser.add_argument('--jobs', type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--trail', metavar='NAME', help='the steps that lead to the error')
    args = parser.parse_args()
    jobs = load_jobs()
    known = {job.name: job for job in jobs}
    unknown = [name for name in [*args.only, *([args.trail] if args.trail else [])]
               if name not in known]
    if unknown:
        parser.error('no such run: ' + ' '.join(unknown))
    if args.trail:
        return show_trail(known[args.trail])
    if args.only:
        jobs = [known[name] for name in args.only]
    elif not args.soak:
        jobs = [job for job in jobs if job.where == 'test']
    if args.list:
        print('\n'.join(f'{job.name:22} {job.expected or "holds":6} {job.where} '
                        f'{" ".join(job.flags)}' for job in jobs))
        return 0
    print(f'{"run":22} {"expect":6} {"states":>10} {"depth":>8} {"seconds":>7} {"MB":>7}',
          flush=True)
    workers = 1 if args.soak else args.jobs  # two long ones might not fit into memory
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for row, wrong, _ in pool.map(run, jobs):
            print(row, flush=True)
            bad += wrong != ''
    print(f'{len(jobs)} runs, {bad} wrong')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
