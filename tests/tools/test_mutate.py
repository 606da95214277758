"""make mutate, on a project of two small sources: what is mutated, what is not, and what the score says."""
import os
import subprocess
import sys
import time

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tools"))

import mutations  # noqa: E402

MAX = """#include "lib/max.h"

/* The larger one: a > b. */
int max(int a, int b)
{
	return a > b ? a : b;
}
"""

# Its own main in cmocka's place. It includes the second source; what max gives for equal numbers cannot tell > from >=.
TEST = """/* SOURCES: lib/max.c */
#include "lib/max.h"
#include "lib/clamp.c"

int main(void)
{
	return max(1, 2) == 2 && max(3, 2) == 3 && max(2, 2) == 2CLAMP ? 0 : 1;
}
"""


@pytest.fixture
def project(tmp_path):
    files = {
        "lib/max.c": MAX,
        "lib/max.h": "int max(int a, int b);\nint clamp(int a);\n",
        "lib/clamp.c": "int clamp(int a)\n{\n\tif (a < 0)\n\t\ta = 0;\n\treturn a;\n}\n",
        "lib/unlinked.c": "int unlinked(int a)\n{\n\treturn a + 1;\n}\n",
        "tests/unit/fakes.c": "int fake;\n",
        "tests/unit/test_max.c": TEST.replace("CLAMP", " && clamp(-5) == 0 && clamp(-1) == 0 && clamp(0) == 0 && clamp(1) == 1 && clamp(5) == 5"),
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def mutate(project, *words):
    done = subprocess.run([sys.executable, os.path.join(TOP, "tools", "mutate.py"), f"--top={project}", "--cc=gcc", "--cflags=-O1 -I. -Wall",
                           "--fakes=tests/unit/fakes.c", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode()


def sources(project):
    return {path: path.read_text() for folder in ("lib", "tests") for path in sorted((project / folder).rglob("*.[ch]"))}


def test_score_and_survivor(project):
    before = sources(project)
    status, text = mutate(project, "--threshold=70")
    assert "survived: lib/max.c:6: return a > b ? a : b; → return a >= b ? a : b;" in text
    last = text.splitlines()[-1]
    tried, killed, survived = [int(word) for word in last.split() if word.isdigit()][:3]
    assert tried == killed + survived and survived == text.count("survived: lib/")
    assert last == f"{tried} mutants, {killed} killed, {survived} survived: {100 * killed // tried} %"
    assert "unlinked" not in text and status == (0 if 100 * killed / tried >= 70 else 1)
    assert sources(project) == before


def test_an_included_source_is_compiled_with_its_test(project):
    assert mutate(project, "--files=lib/clamp.c", "--threshold=50")[0] == 0
    (project / "tests/unit/test_max.c").write_text(TEST.replace("CLAMP", ""))
    status, text = mutate(project, "--files=lib/clamp.c", "--threshold=50")
    assert status == 1 and "0 killed" in text and "lib/clamp.c:3: if (a < 0) → if (!(a < 0))" in text


def test_a_seed_says_which(project):
    first = mutate(project, "--mutations=4", "--seed=7", "--jobs=1")
    assert first == mutate(project, "--mutations=4", "--seed=7", "--jobs=3")
    lists = {mutate(project, "--list", "--mutations=4", f"--seed={seed}")[1] for seed in range(5)}
    assert len(lists) > 1


def test_a_mutant_that_never_ends_is_killed(project):
    (project / "lib/max.c").write_text("int max(int a, int b)\n{\n\twhile (a == 77)\n\t\tb--;\n\treturn a > b ? a : b;\n}\n")
    (project / "tests/unit/test_max.c").write_text("/* SOURCES: lib/max.c */\n#include \"lib/max.h\"\nint main(void)\n{\n\treturn max(1, 2) != 2;\n}\n")
    status, text = mutate(project, "--files=lib/max.c", "--threshold=0", "--limit=1")
    assert status == 0 and "→ while (!(a == 77))" not in text
    assert "→ while (!(a == 77))" in mutate(project, "--files=lib/max.c", "--list")[1]


def test_a_test_that_fails_anyway_judges_nothing(project):
    (project / "tests/unit/test_max.c").write_text(TEST.replace("CLAMP", " && 0"))
    status, text = mutate(project)
    assert status == 1 and "test_max fails without a mutation" in text and "no mutants" in text


def test_a_pattern_names_its_sources(project):
    (project / "tests/unit/test_max.c").write_text(TEST.replace("lib/max.c", "lib/m*.c lib/unlinked.c", 1).replace("CLAMP", ""))
    text = mutate(project, "--list")[1]
    assert "lib/max.c:" in text and "lib/unlinked.c:" in text


def test_what_no_unit_test_could_notice(project):
    (project / "arch").mkdir()
    (project / "arch/cpu.c").write_text("#define WAIT_MS 10\nint cpu(int a)\n{\n\tif (a > 3)\n\t\twrmsr(1, a);\n\treturn a + 2;\n}\n")
    (project / "vmm/shadow").mkdir(parents=True)
    (project / "vmm/shadow/shadow_check.c").write_text("int check(int a)\n{\n\treturn a + 2;\n}\n")
    (project / "tests/unit/test_max.c").write_text("/* SOURCES: arch/cpu.c vmm/shadow/shadow_check.c */\nint main(void) { return 0; }\n")
    changed = {line.split(": ")[0] for line in mutate(project, "--list")[1].splitlines()}
    assert changed == {"arch/cpu.c:4", "arch/cpu.c:6"}
    (project / "tests/unit/test_max.c").write_text("/* SOURCES: */\n#include \"arch/cpu.c\"\nint main(void) { return 0; }\n")
    assert "arch/cpu.c:5: " in mutate(project, "--list")[1]


def test_an_end_ends_the_tests_too(project):
    """A mutant that never ends, and the tool that is told to."""
    (project / "lib/max.c").write_text("int max(int a, int b)\n{\n\twhile (a == 77)\n\t\tb--;\n\treturn a > b ? a : b;\n}\n")
    mark = project / "pid"
    (project / "tests/unit/test_max.c").write_text(
        "/* SOURCES: lib/max.c */\n#include <stdio.h>\n#include <unistd.h>\n#include \"lib/max.h\"\nint main(void)\n{\n"
        f"\tFILE *f = fopen(\"{mark}\", \"w\");\n\tfprintf(f, \"%d\\n\", getpid());\n\tfclose(f);\n"
        "\tif (max(1, 2) != 2)\n\t\tsleep(600);\n\treturn max(2, 1) != 2;\n}\n")
    tool = subprocess.Popen([sys.executable, os.path.join(TOP, "tools", "mutate.py"), f"--top={project}", "--cc=gcc", "--cflags=-O1 -I. -Wall",
                             "--fakes=tests/unit/fakes.c", "--limit=300", "--files=lib/max.c", "--jobs=1"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    hung, same = None, 0
    for _ in range(600):
        time.sleep(0.1)
        pid = mark.read_text().strip() if mark.exists() else ""
        same = same + 1 if pid and pid == hung and os.path.exists(f"/proc/{pid}") else 0
        hung = pid
        if same == 10:
            break
    assert same == 10, "no mutant hangs"
    tool.terminate()
    assert tool.wait(20) != 0
    assert not os.path.exists(f"/proc/{hung}")


LOG = """void log_line(const char *fmt, ...) PRINTF_LIKE(1, 2);
int refuse(const char *fmt, ...) PRINTF_LIKE(1, 2);
"""

CODE = """#include "lib/types.h"
#define LIMIT 4
#ifdef NEVER == 3
#endif
/* a < b */
_Static_assert(sizeof(int) == 4, "1 < 2");
struct room {
	uint8_t bytes[16];
};
enum { RED = 1, BLUE = RED + 1 };
static const char *name[3] = { "a == b", "c" };

int visit(struct room *room, int a)
{
	char copy[12] = { 0 };
	int *p = &a;

	log_line("%d of %d", a + 1, 5);
	if (a > 3)
		log_line("many");
	if (a == 6)
		refuse("%d", a + 1);
	if (__builtin_expect(a, 1) && *p)
		return ERR_IO;
	spin_lock(&room->lock);
	room->state = (uint8_t)-a;
	use(copy,
	    a);
	while (a)
		a -= BIT(3) | 8;
	return 0;
}

void log_room(struct room *room)
{
	int left = 3;
	log_line("%d", left - 1);
}
"""


def changes():
    lines = CODE.splitlines()
    for mutation in mutations.find(CODE, mutations.printers_of([LOG]), ["ERR_IO", "ERR_BUSY"]):
        new = mutations.apply(CODE, mutation).splitlines()
        assert len(new) == len(lines)
        yield mutation.kind, mutation.line, " ".join(new[mutation.line - 1].split())


def test_what_is_mutated():
    found = set(changes())
    for change in [
        ("constant", 2, "#define LIMIT 5"),
        ("constant", 2, "#define LIMIT 3"),
        ("comparison", 21, "if (a != 6)"),
        ("deletion", 22, ";"),
        ("logic", 23, "if (__builtin_expect(a, 1) || *p)"),
        ("condition", 23, "if (!(__builtin_expect(a, 1) && *p))"),
        ("return", 24, "return 0;"),
        ("return", 24, "return ERR_BUSY;"),
        ("deletion", 26, ";"),
        ("deletion", 27, ""),
        ("deletion", 30, ";"),
        ("bit", 30, "a -= BIT(4) | 8;"),
        ("bits", 30, "a -= BIT(3) & 8;"),
        ("arithmetic", 30, "a += BIT(3) | 8;"),
        ("return", 31, "return ERR_IO;"),
    ]:
        assert change in found


def test_what_is_not():
    assert {line for _, line, _ in changes()} == {2, 21, 22, 23, 24, 26, 27, 29, 30, 31}
    assert not [change for change in changes() if change[1] == 23 and "(a, 1)" not in change[2]]
    assert [kind for kind, line, _ in changes() if line == 22] == ["deletion"]     # the call, not what it says
    assert [kind for kind, line, _ in changes() if line == 26] == ["deletion"]     # neither the cast's minus nor ->


def test_notation_stays():
    assert list(mutations.neighbours("0x0fU")) == ["0x0eU", "0x10U"]
    assert list(mutations.neighbours("0")) == ["1"]
    assert list(mutations.neighbours("10ULL")) == ["9ULL", "11ULL"]
