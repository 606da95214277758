/*
 * What programs cost, for tools/bench.py: prints "lamina-guest: program NAME TICKS" for each, the difference of the TSC. Large pages are
 * off, so that each page is a fault of its own. The argument says which: `standard` (pure computation, and what keeps a virtual MMU
 * busy; the life whose exits are counted has these and no others) or `more`.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define ADDITIONS 20000000U
#define PRIMES_BELOW 100000U
#define FIB_OF 27U
#define PING_PONGS 1000U
#define SWEEP_BITS 25
#define SWEEP_BYTES (1UL << SWEEP_BITS)
#define SWEEP_STEPS 8000000
#define STORM_PAGES 64UL
#define STORM_ROUNDS 128
#define MAP_PAGES 8192UL

static uint8_t *sweep_area;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint8_t *map(size_t bytes)
{
	uint8_t *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		fail("mmap");
	return area;
}

static void touch(volatile uint8_t *area, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		area[i * PAGE] = 1;
}

static volatile uint64_t result; /* what is computed must not be optimized away */

static void sum(void)
{
	volatile uint64_t total = 0;

	for (unsigned i = 0; i < ADDITIONS; i++)
		total += i;
	result = total;
}

/* By trial division. */
static void count_primes(void)
{
	unsigned count = 0;

	for (unsigned n = 2; n < PRIMES_BELOW; n++) {
		unsigned divisor = 2;

		while (divisor * divisor <= n && n % divisor)
			divisor++;
		count += divisor * divisor > n;
	}
	result = count;
}

static __attribute__((noinline)) unsigned fib(unsigned n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void fib_once(void)
{
	result = fib(FIB_OF);
}

static void getppid_loop(void)
{
	for (unsigned i = 0; i < 100000; i++)
		syscall(SYS_getppid);
}

static void wait_for(pid_t pid)
{
	int status;

	if (pid < 0)
		fail("fork");
	if (waitpid(pid, &status, 0) != pid || status)
		fail("waitpid");
}

static void forkwait(void)
{
	for (unsigned i = 0; i < 300; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		wait_for(pid);
	}
}

/* Writes at places that a linear congruential generator picks from all of the area. */
static void memsweep(void)
{
	volatile uint8_t *area = sweep_area;
	uint32_t at = 1;

	for (unsigned i = 0; i < SWEEP_STEPS; i++) {
		at = at * 1664525 + 1013904223;
		area[at >> (32 - SWEEP_BITS)]++;
	}
}

static void map_touch_unmap(void)
{
	uint8_t *area = map(MAP_PAGES * PAGE);

	touch(area, MAP_PAGES);
	if (munmap(area, MAP_PAGES * PAGE))
		fail("munmap");
}

static void pass(int from, int to)
{
	uint8_t byte = 0;

	if (read(from, &byte, 1) != 1 || write(to, &byte, 1) != 1)
		fail("pipe");
}

/* A byte goes to another process and back. */
static void ping_pong(void)
{
	int there[2], back[2];
	uint8_t byte = 0;
	pid_t pid;

	if (pipe(there) || pipe(back))
		fail("pipe");
	pid = fork();
	if (!pid) {
		for (unsigned i = 0; i < PING_PONGS; i++)
			pass(there[0], back[1]);
		_exit(0);
	}
	for (unsigned i = 0; i < PING_PONGS; i++) {
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			fail("pipe");
	}
	wait_for(pid);
	for (unsigned i = 0; i < 2; i++) {
		close(there[i]);
		close(back[i]);
	}
}

/* The same few pages again and again. */
static void fault_storm(void)
{
	uint8_t *area = map(STORM_PAGES * PAGE);

	for (unsigned i = 0; i < STORM_ROUNDS; i++) {
		touch(area, STORM_PAGES);
		if (madvise(area, STORM_PAGES * PAGE, MADV_DONTNEED))
			fail("madvise");
	}
	munmap(area, STORM_PAGES * PAGE);
}

static void shells(void)
{
	for (unsigned i = 0; i < 100; i++) {
		pid_t pid = fork();

		if (!pid) {
			execl("/bin/busybox", "sh", "-c", "true", (char *)NULL);
			_exit(1);
		}
		wait_for(pid);
	}
}

static void measure(const char *name, void (*program)(void))
{
	unsigned long long start = __builtin_ia32_rdtsc(), end;

	program();
	end = __builtin_ia32_rdtsc();
	printf("lamina-guest: program %s %llu\n", name, end - start);
	fflush(stdout);
}

static void standard(void)
{
	measure("sum of 20000000", sum);
	measure("primes below 100000", count_primes);
	measure("fib(27)", fib_once);
	measure("getppid x 100000", getppid_loop);
	measure("forkwait x 300", forkwait);
	sweep_area = map(SWEEP_BYTES);
	measure("memsweep, first run", memsweep);
	measure("memsweep, second run", memsweep);
	munmap(sweep_area, SWEEP_BYTES);
	measure("mmap, touch, munmap", map_touch_unmap);
	measure("pipe ping-pong x 1000", ping_pong);
}

static void more(void)
{
	measure("page-fault storm", fault_storm);
	measure("sh -c true x 100", shells);
}

int main(int argc, char **argv)
{
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		fail("prctl");
	if (argc == 2 && !strcmp(argv[1], "standard")) {
		standard();
	} else if (argc == 2 && !strcmp(argv[1], "more")) {
		more();
	} else {
		fprintf(stderr, "usage: programs standard | more\n");
		return 2;
	}
	return 0;
}
