/* SOURCES: vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
#include "tests/unit/unit.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "vmm/memory/guest_walk.h"

#define RAM_SIZE 0x10000
#define P PTE_P
#define W PTE_W
#define U PTE_U
#define A PTE_A
#define D PTE_D
#define PS PTE_PS
#define NX PTE_NX
#define LINEAR 0xffff812345678abcUL

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static struct guest_memory memory;
static struct guest_paging paging;
static uint64_t gpa, page_size;
static uint32_t error;

static uint64_t *entry(unsigned table, unsigned index)
{
	return (uint64_t *)(ram + table) + index;
}

static uint32_t *entry32(unsigned table, unsigned index)
{
	return (uint32_t *)(ram + table) + index;
}

static int walk(uint64_t linear, unsigned access)
{
	gpa = page_size = 0;
	error = 0xffffffff;
	return guest_walk(&memory, &paging, linear, access, &gpa, &error, &page_size);
}

/* The walk must fail with this page-fault error code. */
static void expect_fault(uint64_t linear, unsigned access, uint32_t code)
{
	assert_int_equal(walk(linear, access), ERR_NOENT);
	assert_int_equal(error, code);
}

static void expect_page(uint64_t linear, unsigned access, uint64_t address, uint64_t size)
{
	assert_int_equal(walk(linear, access), 0);
	assert_int_equal(gpa, address);
	assert_int_equal(page_size, size);
}

/* 4-level tables: PML4 at 1000, PDPT 2000, PD 3000, PT 4000; LINEAR maps to 0x123456000. */
static unsigned pml4i, pdpti, pdi, pti;

static int setup(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	memset(&memory, 0, sizeof(memory));
	assert_int_equal(guest_memory_add(&memory, 0, RAM_SIZE, ram), 0);
	pml4i = LINEAR >> 39 & 0x1ff;
	pdpti = LINEAR >> 30 & 0x1ff;
	pdi = LINEAR >> 21 & 0x1ff;
	pti = LINEAR >> 12 & 0x1ff;
	*entry(0x1000, pml4i) = 0x2000 | P | W | U;
	*entry(0x2000, pdpti) = 0x3000 | P | W | U;
	*entry(0x3000, pdi) = 0x4000 | P | W | U;
	*entry(0x4000, pti) = 0x123456000 | P | W | U;
	paging = (struct guest_paging){ .cr0 = CR0_PE | CR0_PG | CR0_WP, .cr3 = 0x1000, .cr4 = CR4_PAE,
					.efer = EFER_LMA | EFER_NXE, .maxphyaddr = 39 };
	return 0;
}

static void test_no_paging(void **state)
{
	(void)state;
	paging.cr0 = CR0_PE;
	expect_page(0x112345678, WALK_WRITE, 0x12345678, 4096);
}

static void test_4_level(void **state)
{
	(void)state;
	expect_page(LINEAR, WALK_READ, 0x123456abc, 4096);
	/* PCID and, in the upper half, nothing but the address count in CR3. */
	paging.cr3 |= 0xfff;
	expect_page(LINEAR, WALK_READ, 0x123456abc, 4096);
	*entry(0x3000, pdi) = 0x40000000 | PS | P | W;
	expect_page(LINEAR, WALK_READ, 0x40000000 | (LINEAR & 0x1fffff), MIB(2));
	*entry(0x3000, pdi) |= BIT(12); /* PAT */
	expect_page(LINEAR, WALK_READ, 0x40000000 | (LINEAR & 0x1fffff), MIB(2));
	*entry(0x2000, pdpti) = 0x1c0000000 | PS | P | W;
	expect_page(LINEAR, WALK_READ, 0x1c0000000 | (LINEAR & 0x3fffffff), GIB(1));
	assert_int_equal(guest_walk(&memory, &paging, LINEAR, WALK_READ, &gpa, NULL, NULL), 0);
	assert_int_equal(guest_walk(&memory, &paging, 0, WALK_READ, &gpa, NULL, NULL), ERR_NOENT);
}

static void test_not_present(void **state)
{
	(void)state;
	*entry(0x4000, pti) = 0;
	expect_fault(LINEAR, WALK_READ, 0);
	expect_fault(LINEAR, WALK_WRITE, PF_WRITE);
	expect_fault(LINEAR, WALK_EXEC, PF_FETCH);
	expect_fault(LINEAR, WALK_WRITE | WALK_USER, PF_WRITE | PF_USER);
	paging.cpl = 3;
	expect_fault(LINEAR, WALK_READ, PF_USER);
	expect_fault(LINEAR, WALK_READ | WALK_IMPLICIT, 0);
	*entry(0x1000, pml4i) = 0;
	expect_fault(LINEAR, WALK_READ, PF_USER);
	paging.efer &= ~EFER_NXE;
	expect_fault(LINEAR, WALK_EXEC, PF_USER); /* no I/D flag without NX or SMEP */
	paging.cr4 |= CR4_SMEP;
	expect_fault(LINEAR, WALK_EXEC, PF_USER | PF_FETCH);
}

static void test_canonical(void **state)
{
	(void)state;
	assert_int_equal(walk(0x0000800000000000, WALK_READ), ERR_INVALID);
	assert_int_equal(walk(0xffff7fffffffffff, WALK_READ), ERR_INVALID);
	assert_int_equal(walk(LINEAR & 0x0000ffffffffffff, WALK_READ), ERR_INVALID);
	expect_fault(0x00007fffffffffff, WALK_READ, 0);
	paging.cr4 |= CR4_LA57;
	assert_int_equal(walk(0x0100000000000000, WALK_READ), ERR_INVALID);
	expect_fault(0x00ffffffffffffff, WALK_READ, 0);
}

static void test_5_level(void **state)
{
	(void)state;
	paging.cr4 |= CR4_LA57;
	paging.cr3 = 0x5000;
	*entry(0x5000, LINEAR >> 48 & 0x1ff) = 0x1000 | P | W | U;
	expect_page(LINEAR, WALK_READ, 0x123456abc, 4096);
	*entry(0x5000, LINEAR >> 48 & 0x1ff) |= PS;
	expect_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
}

static void test_write_protection(void **state)
{
	(void)state;
	for (unsigned level = 0; level < 4; level++) {
		uint64_t *e[4] = { entry(0x1000, pml4i), entry(0x2000, pdpti), entry(0x3000, pdi), entry(0x4000, pti) };

		setup(NULL);
		*e[level] &= ~W;
		expect_page(LINEAR, WALK_READ, 0x123456abc, 4096);
		expect_fault(LINEAR, WALK_WRITE, PF_PRESENT | PF_WRITE);
		paging.cr0 &= ~CR0_WP;
		expect_page(LINEAR, WALK_WRITE, 0x123456abc, 4096);
		expect_fault(LINEAR, WALK_WRITE | WALK_USER, PF_PRESENT | PF_WRITE | PF_USER);

		setup(NULL);
		*e[level] &= ~U;
		expect_page(LINEAR, WALK_WRITE, 0x123456abc, 4096);
		paging.cpl = 3;
		expect_fault(LINEAR, WALK_READ, PF_PRESENT | PF_USER);
		expect_page(LINEAR, WALK_READ | WALK_IMPLICIT, 0x123456abc, 4096);

		setup(NULL);
		*e[level] |= NX;
		expect_page(LINEAR, WALK_READ, 0x123456abc, 4096);
		expect_fault(LINEAR, WALK_EXEC, PF_PRESENT | PF_FETCH);
		paging.efer &= ~EFER_NXE;
		expect_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
	}
}

static void test_smep_smap(void **state)
{
	(void)state;
	expect_page(LINEAR, WALK_EXEC, 0x123456abc, 4096);
	paging.cr4 |= CR4_SMEP;
	expect_fault(LINEAR, WALK_EXEC, PF_PRESENT | PF_FETCH);
	expect_page(LINEAR, WALK_EXEC | WALK_USER, 0x123456abc, 4096);
	expect_page(LINEAR, WALK_READ, 0x123456abc, 4096);
	paging.cr4 |= CR4_SMAP;
	expect_fault(LINEAR, WALK_READ, PF_PRESENT);
	expect_fault(LINEAR, WALK_WRITE, PF_PRESENT | PF_WRITE);
	expect_page(LINEAR, WALK_READ | WALK_USER, 0x123456abc, 4096);
	paging.rflags_ac = true;
	expect_page(LINEAR, WALK_READ, 0x123456abc, 4096);
	expect_fault(LINEAR, WALK_READ | WALK_IMPLICIT, PF_PRESENT);
	paging.rflags_ac = false;
	*entry(0x4000, pti) &= ~U;
	expect_page(LINEAR, WALK_WRITE, 0x123456abc, 4096);
	expect_page(LINEAR, WALK_EXEC, 0x123456abc, 4096);
}

static void test_protection_keys(void **state)
{
	(void)state;
	*entry(0x4000, pti) |= 5UL << 59;
	paging.cr4 |= CR4_PKE;
	paging.pkru = ~(3U << 10);
	expect_page(LINEAR, WALK_WRITE | WALK_USER, 0x123456abc, 4096);
	paging.pkru = 2U << 10;
	expect_page(LINEAR, WALK_READ | WALK_USER, 0x123456abc, 4096);
	expect_fault(LINEAR, WALK_WRITE | WALK_USER, PF_PRESENT | PF_WRITE | PF_USER | PF_PROTECTION_KEY);
	paging.pkru = 1U << 10;
	expect_fault(LINEAR, WALK_READ, PF_PRESENT | PF_PROTECTION_KEY);
	expect_page(LINEAR, WALK_EXEC, 0x123456abc, 4096);
	*entry(0x4000, pti) &= ~U;
	expect_page(LINEAR, WALK_READ, 0x123456abc, 4096);
}

static void test_reserved(void **state)
{
	(void)state;
	*entry(0x4000, pti) |= BIT(38); /* the last physical-address bit, then the first that is none */
	expect_page(LINEAR, WALK_READ, BIT(38) | 0x123456abc, 4096);
	*entry(0x4000, pti) |= BIT(39);
	expect_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
	*entry(0x4000, pti) &= ~P;
	expect_fault(LINEAR, WALK_READ, 0);
	*entry(0x3000, pdi) |= PS;
	*entry(0x3000, pdi) |= BIT(20);
	expect_fault(LINEAR, WALK_WRITE, PF_PRESENT | PF_WRITE | PF_RESERVED);
	*entry(0x2000, pdpti) |= PS | BIT(21);
	expect_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
	*entry(0x1000, pml4i) |= PS;
	expect_fault(LINEAR, WALK_READ, PF_PRESENT | PF_RESERVED);
}

static void test_accessed_dirty(void **state)
{
	uint64_t before = *entry(0x4000, pti);

	(void)state;
	walk(LINEAR, WALK_WRITE);
	assert_int_equal(*entry(0x4000, pti), before);
	/* A fault sets nothing. */
	expect_fault(LINEAR + 4096, WALK_SET_AD, 0);
	assert_int_equal(*entry(0x1000, pml4i) & (A | D), 0);
	assert_int_equal(walk(LINEAR, WALK_READ | WALK_SET_AD), 0);
	assert_int_equal(*entry(0x1000, pml4i) & (A | D), A);
	assert_int_equal(*entry(0x2000, pdpti) & (A | D), A);
	assert_int_equal(*entry(0x3000, pdi) & (A | D), A);
	assert_int_equal(*entry(0x4000, pti), before | A);
	assert_int_equal(walk(LINEAR, WALK_WRITE | WALK_SET_AD), 0);
	assert_int_equal(*entry(0x3000, pdi) & (A | D), A);
	assert_int_equal(*entry(0x4000, pti), before | A | D);
}

/* An entry that is two levels' at a time changes under the walk: the flag set for the first makes the second's outdated. */
static void test_own_next_level(void **state)
{
	uint64_t self = 5UL << 39 | 5UL << 30 | 5UL << 21 | 5UL << 12;

	(void)state;
	*entry(0x1000, 5) = 0x1000 | P | W;
	expect_page(self, WALK_WRITE | WALK_SET_AD, 0x1000, 4096);
	assert_int_equal(*entry(0x1000, 5), 0x1000 | P | W | A | D);
}

/* Another CPU that changes the last entry each time between the walk's look and its change. The first table cannot be read and the last
 * one not be written without a fault, which tells when. */
static unsigned changes;

static void change_entry(int number)
{
	(void)number;
	if (!(changes++ & 1)) {
		/* The walk begins. */
		assert_int_equal(mprotect(ram + 0x1000, 4096, PROT_READ | PROT_WRITE), 0);
		assert_int_equal(mprotect(ram + 0x4000, 4096, PROT_READ), 0);
		return;
	}
	assert_int_equal(mprotect(ram + 0x4000, 4096, PROT_READ | PROT_WRITE), 0);
	*entry(0x4000, pti) ^= BIT(9);
	assert_int_equal(mprotect(ram + 0x1000, 4096, PROT_NONE), 0);
}

static void test_entries_keep_changing(void **state)
{
	struct sigaction action = { .sa_handler = change_entry }, before;
	int result;

	(void)state;
	*entry(0x1000, pml4i) |= A;
	*entry(0x2000, pdpti) |= A;
	*entry(0x3000, pdi) |= A;
	paging.cr4 |= CR4_PKE; /* not the quick walk */
	changes = 0;
	assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
	assert_int_equal(mprotect(ram + 0x1000, 4096, PROT_NONE), 0);
	result = walk(LINEAR, WALK_WRITE | WALK_SET_AD);
	assert_int_equal(mprotect(ram, RAM_SIZE, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
	assert_int_equal(result, ERR_BUSY);
	assert_int_equal(changes, 2 * 8);
	assert_int_equal(*entry(0x4000, pti) & (A | D), 0);
	/* Nothing changes any more. */
	expect_page(LINEAR, WALK_WRITE | WALK_SET_AD, 0x123456abc, 4096);
	assert_int_equal(*entry(0x4000, pti) & (A | D), A | D);
}

static void test_outside_ram(void **state)
{
	(void)state;
	*entry(0x3000, pdi) = RAM_SIZE | P;
	assert_int_equal(walk(LINEAR, WALK_READ), ERR_RANGE);
	paging.cr3 = 0xfffffffffffff000;
	assert_int_equal(walk(LINEAR, WALK_READ), ERR_RANGE);
	/* A table that is its own next level ends after four steps. */
	paging.cr3 = 0x1000;
	for (unsigned i = 0; i < 512; i++)
		*entry(0x1000, i) = 0x1000 | P | W | U;
	expect_page(LINEAR, WALK_WRITE | WALK_SET_AD, 0x1abc, 4096);
	assert_int_equal(*entry(0x1000, pti), 0x1000 | P | W | U | A | D);
}

static void test_32_bit(void **state)
{
	uint32_t linear = 0xc0123456;

	(void)state;
	paging = (struct guest_paging){ .cr0 = CR0_PE | CR0_PG, .cr3 = 0x5000, .maxphyaddr = 36 };
	*entry32(0x5000, linear >> 22) = 0x6000 | P | W | U;
	*entry32(0x6000, linear >> 12 & 0x3ff) = 0xfee00000 | P | W;
	expect_page(linear, WALK_READ, 0xfee00456, 4096);
	expect_page(0xabcd00000000 | linear, WALK_READ, 0xfee00456, 4096);
	expect_fault(linear, WALK_READ | WALK_USER, PF_PRESENT | PF_USER);
	assert_int_equal(walk(linear, WALK_WRITE | WALK_SET_AD), 0);
	assert_int_equal(*entry32(0x5000, linear >> 22), 0x6000 | P | W | U | A);
	assert_int_equal(*entry32(0x6000, linear >> 12 & 0x3ff), 0xfee00000 | P | W | A | D);
	*entry32(0x6000, linear >> 12 & 0x3ff) &= ~W;
	expect_page(linear, WALK_WRITE, 0xfee00456, 4096); /* CR0.WP is 0 */
	/* PS counts with CR4.PSE only. */
	*entry32(0x5000, linear >> 22) |= PS;
	expect_page(linear, WALK_READ, 0xfee00456, 4096);
	paging.cr4 = CR4_PSE;
	*entry32(0x5000, linear >> 22) = 0x00c00000 | 0xf << 13 | PS | P | W;
	expect_page(linear, WALK_READ, 0xf00c00000 | (linear & 0x3fffff), MIB(4));
	*entry32(0x5000, linear >> 22) |= 1 << 17; /* address bit 36 */
	expect_fault(linear, WALK_READ, PF_PRESENT | PF_RESERVED);
	paging.maxphyaddr = 37;
	expect_page(linear, WALK_READ, 0x1f00c00000 | (linear & 0x3fffff), MIB(4));
	*entry32(0x5000, linear >> 22) |= 1 << 21;
	expect_fault(linear, WALK_READ, PF_PRESENT | PF_RESERVED);
	*entry32(0x5000, linear >> 22) = 0xf0000000 | P;
	assert_int_equal(walk(linear, WALK_READ), ERR_RANGE);
}

static void test_pae(void **state)
{
	uint32_t linear = 0xc0234567;

	(void)state;
	paging.efer = EFER_NXE;
	paging.cr3 = 0xdead0000; /* not read: the four entries are */
	paging.pdpte[3] = 0x5000 | P;
	*entry(0x5000, linear >> 21 & 0x1ff) = 0x6000 | P | W;
	*entry(0x6000, linear >> 12 & 0x1ff) = 0x123456000 | P | W | NX;
	expect_page(linear, WALK_WRITE, 0x123456567, 4096);
	expect_fault(linear, WALK_EXEC, PF_PRESENT | PF_FETCH);
	expect_fault(0x40000000, WALK_WRITE, PF_WRITE);
	/* Bits that 4-level paging ignores are reserved. */
	*entry(0x6000, linear >> 12 & 0x1ff) |= BIT(55);
	expect_fault(linear, WALK_READ, PF_PRESENT | PF_RESERVED);
	*entry(0x5000, linear >> 21 & 0x1ff) = 0x40000000 | PS | P | W;
	expect_page(linear, WALK_WRITE | WALK_SET_AD, 0x40000000 | (linear & 0x1fffff), MIB(2));
	assert_int_equal(*entry(0x5000, linear >> 21 & 0x1ff), 0x40000000 | PS | P | W | A | D);
}

/* The short walk and the thorough one must agree on random tables. A protection-key register that forbids nothing makes
 * guest_walk() take the thorough one. */
static void test_short_walk(void **state)
{
	uint64_t x = 88172645463325252;
	unsigned good = 0;

	(void)state;
	for (unsigned n = 0; n < 200000; n++) {
		uint64_t *e[4] = { entry(0x1000, pml4i), entry(0x2000, pdpti), entry(0x3000, pdi), entry(0x4000, pti) };
		static const uint8_t bit[] = { 0, 1, 2, 5, 6, 7, 12, 13, 20, 38, 39, 51, 52, 63 };
		uint64_t saved[4], first_gpa, first_size;
		uint32_t first_error;
		unsigned access;
		int first;

		setup(NULL);
		for (unsigned i = 0; i < 4; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			*e[i] |= x & 1 ? A | D : 0;
			if ((x >> 8 & 3) == 0)
				*e[i] ^= BIT(bit[(x >> 16 & 0xff) % ARRAY_SIZE(bit)]);
			saved[i] = *e[i];
		}
		access = (unsigned)(x >> 32) & (WALK_WRITE | WALK_EXEC | WALK_USER | WALK_IMPLICIT | WALK_SET_AD);
		if (access & WALK_EXEC)
			access &= ~(unsigned)WALK_WRITE;
		paging.cr0 ^= x >> 40 & 1 ? CR0_WP : 0;
		paging.efer ^= x >> 41 & 1 ? EFER_NXE : 0;
		paging.cr4 |= (x >> 42 & 1 ? CR4_SMEP : 0) | (x >> 43 & 1 ? CR4_SMAP : 0);
		paging.cpl = x >> 44 & 1 ? 3 : 0;
		paging.rflags_ac = x >> 45 & 1;
		first = walk(LINEAR, access);
		first_gpa = gpa;
		first_size = page_size;
		first_error = error;
		for (unsigned i = 0; i < 4; i++) {
			uint64_t after = *e[i];

			*e[i] = saved[i];
			saved[i] = after;
		}
		paging.cr4 |= CR4_PKE;
		assert_int_equal(walk(LINEAR, access), first);
		assert_int_equal(gpa, first_gpa);
		assert_int_equal(page_size, first_size);
		assert_int_equal(error, first_error);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(*e[i], saved[i]);
		good += !first;
	}
	assert_in_range(good, 20000, 180000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_no_paging, setup),
		cmocka_unit_test_setup(test_4_level, setup),
		cmocka_unit_test_setup(test_not_present, setup),
		cmocka_unit_test_setup(test_canonical, setup),
		cmocka_unit_test_setup(test_5_level, setup),
		cmocka_unit_test_setup(test_write_protection, setup),
		cmocka_unit_test_setup(test_smep_smap, setup),
		cmocka_unit_test_setup(test_protection_keys, setup),
		cmocka_unit_test_setup(test_reserved, setup),
		cmocka_unit_test_setup(test_accessed_dirty, setup),
		cmocka_unit_test_setup(test_own_next_level, setup),
		cmocka_unit_test_setup(test_entries_keep_changing, setup),
		cmocka_unit_test_setup(test_outside_ram, setup),
		cmocka_unit_test_setup(test_32_bit, setup),
		cmocka_unit_test_setup(test_pae, setup),
		cmocka_unit_test_setup(test_short_walk, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
