#!/usr/bin/python3
"""Runs fuzzers that are built (`make fuzz`, `make fuzz-keep`, tests/run.py).

    tests/fuzz/fuzz.py run SECONDS NAME …    each for so long, a line for each; exit status 1 where one found something
    tests/fuzz/fuzz.py test NAME             the kept corpus, then as many inputs made from it as the fuzzer's second line says
    tests/fuzz/fuzz.py keep NAME …           the kept corpus made anew from it and from what the runs learnt, at most KEPT_FILES and KEPT_BYTES

The kept corpus is tests/fuzz/corpus/NAME; what runs learn goes to build/fuzz/corpus/NAME, and findings to build/fuzz/findings. A
finding's input goes by hand to the kept corpus, as finding-WHAT, with its mending: `keep` never drops such a file.
"""
import os
import re
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
OUT = os.path.join("build", "fuzz")
FINDINGS = os.path.join(OUT, "findings")
KEPT_FILES = 60
KEPT_BYTES = 64 << 10
PATIENCE = 20   # seconds for one input in a run by time


def kept(name):
    return os.path.join("tests", "fuzz", "corpus", name)


def learnt(name):
    path = os.path.join(OUT, "corpus", name)
    os.makedirs(path, exist_ok=True)
    return path


def limits(name):
    """(runs, bytes) by the fuzzer's second line."""
    path = os.path.join("tests", "fuzz", f"fuzz_{name}.c")
    with open(path, encoding="utf-8") as file:
        found = re.search(r"^/\* TEST: (\d+) runs of up to (\d+) bytes \*/$", "".join(file.readlines()[:2]), re.MULTILINE)
    if not found:
        sys.exit(f"fuzz: {path}: its second line is not /* TEST: N runs of up to N bytes */")
    return int(found.group(1)), int(found.group(2))


def call(name, *arguments):
    """Runs a fuzzer; returns (exit status, what it wrote)."""
    os.makedirs(FINDINGS, exist_ok=True)
    command = [os.path.join(OUT, name), f"-max_len={limits(name)[1]}", f"-artifact_prefix={FINDINGS}/{name}-", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def executions(text):
    found = re.findall(r"^(?:#|Done |stat::number_of_executed_units: *)(\d+)", text, re.MULTILINE)
    return max(map(int, found), default=0)


def run(seconds, names):
    failed = False
    for name in names:
        status, text = call(name, f"-max_total_time={seconds}", f"-timeout={PATIENCE}", "-print_final_stats=1", "-reload=0", learnt(name), kept(name))
        line = f"{name}: {executions(text)} executions, corpus {len(os.listdir(learnt(name))) + len(os.listdir(kept(name)))} files"
        if status == 0:
            print(f"{line}, ok", flush=True)
            continue
        failed = True
        log = os.path.join(FINDINGS, f"{name}.log")
        with open(log, "w", encoding="utf-8") as file:
            file.write(text)
        found = re.findall(r"Test unit written to (\S+)", text)
        summary = re.findall(r"^SUMMARY: .*|.*: not so: .*|.*runtime error: .*", text, re.MULTILINE)
        print(f"{line}, FOUND: {summary[0] if summary else f'exit status {status}'}; what it wrote: {log}")
        print(f"    repeat: {OUT}/{name} {found[-1] if found else '(no input was written)'}", flush=True)
    return 1 if failed else 0


def test(name):
    """Bounded by counts and the same each time, so that no machine is too slow for it."""
    runs = limits(name)[0]
    scratch = os.path.join(OUT, "test", name)     # libFuzzer writes what it finds new to the first folder
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    if not os.listdir(kept(name)):
        sys.exit(f"fuzz: {kept(name)} is empty")
    for arguments in (("-runs=0", kept(name)), ("-seed=1", f"-runs={runs}", "-reload=0", scratch, kept(name))):
        status, text = call(name, *arguments)
        if status != 0:
            sys.stdout.write(text)
            return 1
        print(f"{name} {arguments[0]}: {executions(text)} executions")
    return 0


def keep(names):
    for name in names:
        fresh = os.path.join(OUT, "keep", name)
        shutil.rmtree(fresh, ignore_errors=True)
        os.makedirs(fresh)
        findings = [file for file in os.listdir(kept(name)) if file.startswith("finding-")]
        # As few as reach all that is reached.
        status, text = call(name, "-set_cover_merge=1", "-use_counters=0", fresh, kept(name), learnt(name))
        if status != 0:
            sys.stdout.write(text)
            return 1
        files = sorted(((os.path.getsize(os.path.join(fresh, file)), file) for file in os.listdir(fresh)), reverse=True)
        left, chosen = KEPT_BYTES - sum(os.path.getsize(os.path.join(kept(name), file)) for file in findings), []
        for size, file in files:
            if size <= left and len(findings) + len(chosen) < KEPT_FILES:
                chosen.append(file)
                left -= size
        for file in os.listdir(kept(name)):
            if file not in findings:
                os.unlink(os.path.join(kept(name), file))
        for file in chosen:
            shutil.copyfile(os.path.join(fresh, file), os.path.join(kept(name), file))
        print(f"{name}: {len(findings) + len(chosen)} files kept; {len(files)} reach all")
    return 0


def main():
    os.chdir(TOP)
    words = sys.argv[1:]
    if len(words) > 2 and words[0] == "run" and words[1].isdigit():
        return run(int(words[1]), words[2:])
    if len(words) == 2 and words[0] == "test":
        return test(words[1])
    if len(words) > 1 and words[0] == "keep":
        return keep(words[1:])
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main())
