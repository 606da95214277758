#!/usr/bin/python3
"""Mutation testing: do the unit tests notice when the code is wrong? (`make mutate`)

One at a time, small random mutations (tools/mutations.py) are made in the sources that unit tests link or include, in a copy of
the tree. The unit tests of that source are run one after another until one fails: then the mutant is killed. A mutant that no test
notices survived, and is printed. A mutant that runs into the time limit is killed too. What does not compile, or compiles to
the same code as before, is no mutant: another is drawn. The same seed draws the same mutations, however many jobs there are.

Three sorts of lines are not judged, since no unit test could: those of NOT_JUDGED, those that execute PRIVILEGED instructions, and the values
of TIMES. A function that is linked but that no test calls is judged like any other: that it survives is a gap of the tests.
"""
import argparse
import collections
import concurrent.futures
import fnmatch
import glob
import hashlib
import os
import queue
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import mutations

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
TESTS = "tests/unit"

# A mutant may warn. What would make it behave differently from run to run is not let through.
LENIENT = ["-Wno-error", "-Werror=uninitialized", "-Werror=maybe-uninitialized", "-Werror=return-type", "-Werror=int-conversion",
           "-Werror=incompatible-pointer-types", "-Werror=implicit-function-declaration"]

# A report is not read, so it need not be made; a mutant that takes all memory is ended.
SANITIZERS = {"ASAN_OPTIONS": "symbolize=0:hard_rss_limit_mb=2048", "UBSAN_OPTIONS": "symbolize=0"}

# A test may take --limit seconds and so many times what it takes without a mutation.
LIMIT_FACTOR = 6

# Sources that are not judged, and why.
NOT_JUDGED = {
    "vmm/shadow/shadow_check.c": "a part of the tests themselves, which finds something only where the shadow MMU is broken",
}

# Lines of arch/ that no process may execute: whole boots test them. Where a test includes the source, it has put functions of its own there.
PRIVILEGED = re.compile(r"\b(?:rdmsr|wrmsr|xgetbv|xsetbv|read_cr\d|write_cr\d)\(")

# Whether a device has a second or a thousandth less before it is given up is nothing that a test should hold on to.
TIMES = re.compile(r"#define \w+_(?:MS|US) ")

Draw = collections.namedtuple("Draw", "path mutation")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


class Test:
    """A unit test: tests/unit/NAME.c, what is linked with it, and which of these files includes which source."""

    def __init__(self, top, name, fakes):
        self.name = name
        main = f"{TESTS}/{name}.c"
        lines = read(os.path.join(top, main)).splitlines() + ["", ""]
        sources = re.match(r"/\* SOURCES: (.*) \*/$", lines[0])
        libs = re.match(r"/\* LIBS: (.*) \*/$", lines[1])
        named = sources.group(1).split() if sources else []
        linked = [path for pattern in named for path in (sorted(glob.glob(pattern, root_dir=top)) if "*" in pattern else [pattern])]
        self.units = [main, *fakes, *linked]
        words = shlex.split(libs.group(1)) if libs else []
        self.libs = words
        self.flags = [word for word in words if not word.startswith(("-l", "-Wl,"))]
        self.holds = collections.defaultdict(list)    # source → the units that must be compiled anew when it changes
        for unit in self.units:
            self.holds[unit].append(unit)
            if unit.startswith(TESTS):
                for included in re.findall(r'^#include "([^"]+\.c)"', read(os.path.join(top, unit)), re.MULTILINE):
                    self.holds[included].append(unit)


class Once:
    """Results of a function, each worked out once, also when several threads ask at the same time."""

    def __init__(self, function):
        self.function, self.results, self.lock = function, {}, threading.Lock()

    def __call__(self, *key):
        with self.lock:
            mine = key not in self.results
            if mine:
                self.results[key] = concurrent.futures.Future()
            result = self.results[key]
        if mine:
            try:
                result.set_result(self.function(*key))
            except BaseException as error:
                result.set_exception(error)
                raise
        return result.result()


class Project:
    """The tree, its unit tests, and the objects that they consist of without a mutation."""

    def __init__(self, options):
        self.top = options.top
        self.compiler = shlex.split(options.cc)
        flags = [flag for flag in shlex.split(options.cflags) if not re.match(r"-g\d?$|-Werror", flag)]
        self.flags = flags + LENIENT
        self.plain = [flag for flag in self.flags if not re.match(r"-fsanitize|-fno-sanitize|-O", flag)] + ["-O2"]
        self.limit = options.limit
        self.library = shlex.split(options.libraries)
        names = sorted(name[:-2] for name in os.listdir(os.path.join(self.top, TESTS)) if re.fullmatch(r"test_\w+\.c", name))
        self.tests = [Test(self.top, name, shlex.split(options.fakes)) for name in names]
        self.sources = sorted({source for test in self.tests for source in test.holds if not source.startswith(("tests/", "build/"))})
        self.cache = None if options.list else self.prepare_cache()
        self.object = Once(self.make_object)
        self.plain_object = Once(self.make_plain_object)
        self.unmutated = Once(self.run_unmutated)

    def judged(self, path, line):
        """Whether a unit test could notice a mutation of this line, see above."""
        if path in NOT_JUDGED or TIMES.match(line):
            return False
        included = any(unit != path for test in self.tests for unit in test.holds.get(path, ()))
        return included or not (path.startswith("arch/") and PRIVILEGED.search(line))

    def code(self):
        """Every C file and header of the tree, and the sources among them that are built."""
        for path, folders, files in os.walk(self.top):
            folders[:] = [name for name in folders if name != ".git" and (name != "build" or path != self.top)]
            yield from (os.path.relpath(os.path.join(path, name), self.top) for name in files if name.endswith((".c", ".h", ".inc")))
        yield from sorted({unit for test in self.tests for unit in test.units if unit.startswith("build/")})

    def prepare_cache(self):
        """The folder of the objects: of one state of all headers, so that an object depends on its own text alone."""
        digest = hashlib.sha256(" ".join(self.compiler + self.flags).encode())
        for path in sorted(self.code()):
            if not path.endswith(".c"):
                digest.update(path.encode() + read(os.path.join(self.top, path)).encode())
        root = os.path.join(self.top, "build", "mutate")
        folder = os.path.join(root, digest.hexdigest()[:16])
        os.makedirs(folder, exist_ok=True)
        for other in os.listdir(root):
            if os.path.join(root, other) != folder:
                shutil.rmtree(os.path.join(root, other), ignore_errors=True)
        return folder

    def copy_tree(self, place):
        for path in self.code():
            os.makedirs(os.path.dirname(os.path.join(place, path)), exist_ok=True)
            shutil.copyfile(os.path.join(self.top, path), os.path.join(place, path))
        guests = os.path.join(self.top, "build", "guests")      # a test walks a guest's code
        if os.path.isdir(guests):
            os.makedirs(os.path.join(place, "build"), exist_ok=True)
            os.symlink(os.path.realpath(guests), os.path.join(place, "build", "guests"))

    def compile(self, place, unit, flags, out):
        done = subprocess.run([*self.compiler, *flags, "-c", "-o", out, unit], cwd=place, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return "" if done.returncode == 0 else done.stdout.decode(errors="replace")

    def made(self, unit, flags):
        """The object of an unmutated file, as an earlier run left it, or new."""
        text = read(os.path.join(self.top, unit))
        included = re.findall(r'^#include "([^"]+\.c)"', text, re.MULTILINE) if unit.startswith(TESTS) else []
        text += "".join(read(os.path.join(self.top, path)) for path in included) + " ".join([unit, *flags])
        out = os.path.join(self.cache, hashlib.sha256(text.encode()).hexdigest()[:24] + ".o")
        if not os.path.exists(out):
            complaint = self.compile(self.top, unit, flags, out + ".new")
            if complaint:
                sys.exit(f"mutate: {unit} does not compile without a mutation:\n{complaint}")
            os.rename(out + ".new", out)
        return out

    def make_object(self, unit, extra):
        return self.made(unit, self.flags + list(extra))

    def make_plain_object(self, unit, extra):
        return self.made(unit, self.plain + list(extra))

    def link(self, test, objects, out):
        """Returns what the linker complained of."""
        done = subprocess.run([*self.compiler, *self.flags, *test.flags, "-o", out, *objects, *self.library, *test.libs],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return "" if done.returncode == 0 else done.stdout.decode(errors="replace")

    def objects(self, test, instead):
        return [instead.get(unit) or self.object(unit, tuple(test.flags)) for unit in test.units]

    def run_unmutated(self, test):
        """The seconds that a test takes without a mutation, or None if it fails: then it can judge nothing."""
        with tempfile.TemporaryDirectory(prefix="lamina-mutate-") as folder:
            binary = os.path.join(folder, test.name)
            complaint = self.link(test, self.objects(test, {}), binary)
            if complaint:
                sys.exit(f"mutate: {test.name} does not link without a mutation:\n{complaint}")
            started = time.monotonic()
            if run(binary, self.top, 600) == 0:
                return time.monotonic() - started
        print(f"mutate: {test.name} fails without a mutation and is left out", flush=True)
        return None

    def tests_of(self, path):
        """The tests that can judge this source: its own first, then the small ones."""
        stem = os.path.basename(path)[:-2]
        found = [test for test in self.tests if path in test.holds]
        found.sort(key=lambda test: (test.name != f"test_{stem}", not test.name.startswith(f"test_{stem}"), len(test.units), test.name))
        return [test for test in found if self.unmutated(test) is not None]


class Running:
    """The tests that run now. Each leads a process group of its own, so that it is ended with all that it started."""

    def __init__(self):
        self.tests, self.lock, self.stopped = set(), threading.Lock(), False

    def start(self, binary, place):
        with self.lock:
            if self.stopped:
                raise InterruptedError
            test = subprocess.Popen([binary], cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    env=dict(os.environ, **SANITIZERS), start_new_session=True)
            self.tests.add(test)
            return test

    def end(self, test):
        with self.lock:
            self.tests.discard(test)
            if test.poll() is None:
                os.killpg(test.pid, signal.SIGKILL)
        test.wait()

    def stop(self):
        """Ends them all, and lets no other start."""
        with self.lock:
            self.stopped = True
            for test in self.tests:
                if test.poll() is None:
                    os.killpg(test.pid, signal.SIGKILL)


running = Running()


def run(binary, place, limit):
    """The exit status of a test, or -1 after so many seconds."""
    test = running.start(binary, place)
    try:
        return test.wait(limit)
    except subprocess.TimeoutExpired:
        return -1
    finally:
        running.end(test)


def draws(project, patterns, seed):
    """All mutations in the order in which the seed draws them: a line at random, then one of the line's."""
    texts = {path: read(os.path.join(project.top, path)) for path in project.code()}
    printers = mutations.printers_of(texts.values())
    errors = sorted({name for text in texts.values() for name in re.findall(r"^\s*(ERR_[A-Z]+)(?= = -\d)", text, re.MULTILINE)})
    lines = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in project.sources:
        if not patterns or any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
            text = texts[path].splitlines()
            for mutation in mutations.find(texts[path], printers, errors):
                if project.judged(path, text[mutation.line - 1]):
                    lines[path, mutation.line][mutation.kind].append(mutation)

    order = random.Random(seed)
    left = [(path, kinds) for (path, _), kinds in lines.items()]
    while left:
        order.shuffle(left)
        for path, kinds in left:
            kind = order.choice(sorted(kinds))
            mutation = kinds[kind].pop(order.randrange(len(kinds[kind])))
            if not kinds[kind]:
                del kinds[kind]
            yield Draw(path, mutation)
        left = [(path, kinds) for path, kinds in left if kinds]


KILLED, SURVIVED, NO_MUTANT = "killed", "survived", "no mutant"


class Workshop:
    """Copies of the tree, one for each job, in which mutants are built and run."""

    def __init__(self, project, jobs, folder):
        self.project = project
        self.places = queue.SimpleQueue()
        for number in range(jobs):
            place = os.path.join(folder, str(number))
            project.copy_tree(place)
            self.places.put(place)

    def judge(self, draw):
        """What becomes of one mutation."""
        place = self.places.get()
        path = os.path.join(place, draw.path)
        text = read(path)
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(mutations.apply(text, draw.mutation))
            with tempfile.TemporaryDirectory(dir=place) as folder:
                return self.try_out(draw, place, folder)
        finally:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            self.places.put(place)

    def try_out(self, draw, place, folder):
        project = self.project
        tests = project.tests_of(draw.path)
        built = {}      # (unit, flags) → its mutated object
        for test in tests:
            instead = {}
            for unit in test.holds[draw.path]:
                key = unit, tuple(test.flags)
                if key not in built:
                    built[key] = os.path.join(folder, f"{len(built)}.o")
                    if project.compile(place, unit, project.flags + test.flags, built[key]):
                        return NO_MUTANT
                instead[unit] = built[key]
            binary = os.path.join(folder, test.name)
            if project.link(test, project.objects(test, instead), binary):
                return NO_MUTANT
            if run(binary, place, project.limit + LIMIT_FACTOR * project.unmutated(test)) != 0:
                return KILLED
            os.unlink(binary)
        return SURVIVED if tests and self.differs(place, folder, built) else NO_MUTANT

    def differs(self, place, folder, built):
        """Whether any of the mutated objects has other code than the unmutated one, when both are optimized."""
        for unit, flags in built:
            out = os.path.join(folder, "plain.o")
            if self.project.compile(place, unit, self.project.plain + list(flags), out):
                return True
            with open(out, "rb") as mutated, open(self.project.plain_object(unit, flags), "rb") as before:
                if mutated.read() != before.read():
                    return True
        return False


def describe(project, draw):
    """A survivor: where it is, and the first line that differs, before and after."""
    text = read(os.path.join(project.top, draw.path))
    old, new = text.splitlines(), mutations.apply(text, draw.mutation).splitlines()
    at = next((at for at in range(draw.mutation.line - 1, len(old)) if old[at] != new[at]), draw.mutation.line - 1)
    return f"{draw.path}:{at + 1}: {old[at].strip()} → {new[at].strip()}"


def parse():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--mutations", type=int, default=100, help="how many mutants are tried (100)")
    arguments.add_argument("--seed", type=int, default=1, help="which are drawn (1)")
    arguments.add_argument("--files", default="", help="only sources whose paths match one of these patterns")
    arguments.add_argument("--jobs", type=int, default=2, help="how many are tried at the same time (2)")
    arguments.add_argument("--threshold", type=float, default=90, help="per cent that must be killed (90)")
    arguments.add_argument("--limit", type=float, default=8, help="seconds after which a test that is quick counts as hung (8)")
    arguments.add_argument("--list", action="store_true", help="print what would be drawn, and try nothing")
    arguments.add_argument("--cc", required=True, help="the compiler of the unit tests")
    arguments.add_argument("--cflags", required=True, help="its flags")
    arguments.add_argument("--fakes", required=True, help="sources that every unit test links")
    arguments.add_argument("--libraries", default="", help="libraries that every unit test links")
    arguments.add_argument("--top", default=TOP, help="the tree (this one)")
    return arguments.parse_args()


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    options = parse()
    project = Project(options)
    drawn = draws(project, options.files.split(), options.seed)
    if options.list:
        for draw, _ in zip(drawn, range(options.mutations)):
            print(describe(project, draw))
        return 0

    counts = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="lamina-mutate-") as folder, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        workshop = Workshop(project, options.jobs, folder)
        waiting = collections.deque()

        def submit():
            draw = next(drawn, None)
            if draw:
                waiting.append((draw, pool.submit(workshop.judge, draw)))
        try:
            for _ in range(options.mutations):
                submit()
            while waiting:
                draw, result = waiting.popleft()
                counts[result.result()] += 1
                if result.result() == NO_MUTANT:
                    submit()
                elif result.result() == SURVIVED:
                    print(f"survived: {describe(project, draw)}", flush=True)
        except BaseException:
            running.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    tried = counts[KILLED] + counts[SURVIVED]
    if not tried:
        sys.exit("mutate: no mutants: no unit test links such a file, or nothing in it can be changed")
    score = 100 * counts[KILLED] / tried
    print(f"{counts[NO_MUTANT]} further mutations did not compile, or changed nothing")
    print(f"{tried} mutants, {counts[KILLED]} killed, {counts[SURVIVED]} survived: {int(score)} %")
    return 0 if score >= options.threshold else 1


if __name__ == "__main__":
    sys.exit(main())
