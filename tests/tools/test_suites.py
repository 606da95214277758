"""The lines of make unit, with scripts in place of suites: what fails is told apart from what only says so."""
import os
import subprocess
import sys

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

PASSED = "[==========] 3 test(s) run.\n[  PASSED  ] 3 test(s).\n"
SKIPPED = "[  PASSED  ] 2 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n[  SKIPPED ] test_x\n"
FAILED = "[  ERROR   ] --- 1 != 2\n[  PASSED  ] 2 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] test_x\n"


@pytest.mark.parametrize("output, end, line, total", [
    (PASSED, "exit 0", "ok   suite 3 passed, 0 failed, 0 skipped", "3 passed, 0 failed"),
    (SKIPPED, "exit 0", "ok   suite 2 passed, 0 failed, 1 skipped", "2 passed, 0 failed"),
    (FAILED, "exit 1", "FAIL suite 2 passed, 1 failed, 0 skipped", "2 passed, 1 failed"),
    (PASSED, "exit 1", "FAIL suite 3 passed, 1 failed, 0 skipped", "3 passed, 1 failed"),   # a leak, found at the end
    ("", "exit 0", "FAIL suite 0 passed, 1 failed, 0 skipped", "0 passed, 1 failed"),
    ("[ RUN      ] test_x\n", "kill -SEGV $$", "FAIL suite 0 passed, 1 failed, 0 skipped", "0 passed, 1 failed"),
])
def test_a_suite(tmp_path, output, end, line, total):
    suite = tmp_path / "suite"
    suite.write_text(f"#!/bin/sh\ncat <<'END'\n{output}END\n{end}\n")
    suite.chmod(0o755)
    done = subprocess.run([sys.executable, os.path.join(TOP, "tests", "unit", "suites.py"), str(suite)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, check=False)
    text = done.stdout.decode()
    lines = [" ".join(word.split()) for word in text.splitlines()]
    assert any(word.startswith(line[:5].strip()) and line[5:] in word for word in lines), text
    assert lines[-1] == total
    assert (done.returncode == 0) == line.startswith("ok")
    assert (output.strip() in text) == (line.startswith("FAIL"))
