#!/usr/bin/python3
"""Runs suites of unit tests (built already), one after another: a line for each, and all that a suite printed only where it failed.

    tests/unit/suites.py build/unit/test_pic build/unit/test_pit
"""
import os
import re
import subprocess
import sys
import time


def count(word, text):
    """How many tests cmocka says have PASSED, FAILED or were SKIPPED."""
    return sum(int(number) for number in re.findall(rf"^\[  {word} *\] (\d+) test", text, re.MULTILINE))


def run(suite):
    """(passed, failed) of a suite, whose line it prints. One that ends badly without a failed test has one more that failed."""
    started = time.monotonic()
    done = subprocess.run([suite], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - started
    text = done.stdout.decode(errors="replace")
    passed, failed, skipped = (count(word, text) for word in ("PASSED", "FAILED", "SKIPPED"))
    if (done.returncode != 0 and failed == 0) or passed + failed + skipped == 0:
        failed += 1
    if failed:
        print(text.rstrip())
    end = f", exit status {done.returncode}" if done.returncode < 0 else ""
    print(f"{'FAIL' if failed else 'ok  '} {os.path.basename(suite):26} {passed:3} passed, {failed} failed, {skipped} skipped, {seconds:.1f} s{end}",
          flush=True)
    return passed, failed


def main():
    results = [run(suite) for suite in sys.argv[1:]]
    passed, failed = (sum(numbers) for numbers in zip(*results)) if results else (0, 0)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
