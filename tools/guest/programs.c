/*
 * What programs cost that keep a virtual MMU busy, for tools/bench.py: prints "lamina-guest: program NAME TICKS" for each, the
 * difference of the TSC. Large pages are off, so that each page is a fault of its own.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
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

int main(void)
{
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		fail("prctl");
	measure("getppid x 100000", getppid_loop);
	measure("forkwait x 300", forkwait);
	sweep_area = map(SWEEP_BYTES);
	measure("memsweep, first run", memsweep);
	measure("memsweep, second run", memsweep);
	munmap(sweep_area, SWEEP_BYTES);
	measure("mmap, touch, munmap", map_touch_unmap);
	measure("page-fault storm", fault_storm);
	measure("sh -c true x 100", shells);
	return 0;
}
