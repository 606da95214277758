/* A guest's machine for the tests of emulate_mmio(): its page tables, two pages of device registers, two of RAM, and code. */
#ifndef TESTS_UNIT_EMULATE_FIXTURE_H
#define TESTS_UNIT_EMULATE_FIXTURE_H

#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "vmm/emulate/access.h"
#include "vmm/emulate/alu.h"
#include "vmm/emulate/emulate.h"

/* Linear addresses, the same in the host process and in the guest: two device pages, two RAM pages, then code. */
#define L 0x20000000UL
#define DATA_PAGES 4
#define CODE (L + 0x10000)
#define CODE_PAGES 2
#define MMIO_A 0xfed00000UL
#define MMIO_B 0xfed02000UL

/* Guest-physical layout of the RAM behind the guest's tables. */
#define RAM_SIZE 0x80000UL
#define GPA_PML4 0x1000
#define GPA_PDPT 0x2000
#define GPA_PD 0x3000
#define GPA_PT 0x4000
#define GPA_RAM_A 0x50000
#define GPA_RAM_B 0x52000
#define GPA_CODE 0x60000
#define GPA_CODE_2 0x63000

#define PTE_PWU 7

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static uint8_t device[2][4096];
static struct guest_memory memory;
static struct emulator emu;
static struct emulate_result result;
static uint64_t gpr[16];
static unsigned mmio_reads, mmio_writes, port_accesses;
static struct segment_state segments[SEG_OPERANDS];

static uint64_t random_state = 0x123456789abcdef;

static inline uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static inline unsigned random_below(unsigned n)
{
	return (unsigned)((random64() >> 20) % n);
}

static inline uint8_t *device_at(uint64_t gpa, unsigned size)
{
	unsigned which = (gpa & ~0xfffUL) == MMIO_A ? 0 : 1;

	if ((gpa & ~0xfffUL) != MMIO_A && (gpa & ~0xfffUL) != MMIO_B)
		return NULL;
	assert_true((gpa & 0xfff) + size <= 4096);
	return &device[which][gpa & 0xfff];
}

static inline uint64_t mmio_read(void *ctx, uint64_t gpa, unsigned size)
{
	uint64_t value = 0xa5a5a5a5a5a5a5a5;
	uint8_t *p = device_at(gpa, size);

	assert_ptr_equal(ctx, &emu);
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	mmio_reads++;
	if (p)
		memcpy(&value, p, size);
	return value; /* with garbage above the size */
}

static inline void mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	uint8_t *p = device_at(gpa, size);

	assert_ptr_equal(ctx, &emu);
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	assert_true(size == 8 || value >> (8 * size) == 0);
	mmio_writes++;
	if (p)
		memcpy(p, &value, size);
}

static inline uint32_t port_read(void *ctx, uint16_t port, unsigned size)
{
	assert_ptr_equal(ctx, &emu);
	assert_true(size == 1 || size == 2 || size == 4);
	return port * 0x10001U + port_accesses++;
}

static uint32_t port_sum;

static inline void port_write(void *ctx, uint16_t port, unsigned size, uint32_t value)
{
	(void)port;
	assert_ptr_equal(ctx, &emu);
	assert_true(size == 4 || value >> (8 * size) == 0);
	port_accesses++;
	port_sum = port_sum * 31 + value;
}

static inline void segment(void *ctx, enum segment_register which, struct segment_state *seg)
{
	assert_ptr_equal(ctx, &emu);
	*seg = segments[which];
}

static inline uint64_t *pte(uint64_t linear)
{
	return (uint64_t *)(ram + GPA_PT + ((linear >> 12) & 0x1ff) * 8);
}

static inline void reset(void)
{
	static const uint32_t data_gpa[DATA_PAGES] = { MMIO_A, MMIO_B, GPA_RAM_A, GPA_RAM_B };

	memset(ram + GPA_PML4, 0, GPA_PT + 4096 - GPA_PML4);
	memset(&emu, 0, sizeof(emu));
	memset(gpr, 0, sizeof(gpr));
	memset(&memory, 0, sizeof(memory));
	assert_int_equal(guest_memory_add(&memory, 0, RAM_SIZE, ram), 0);
	*(uint64_t *)(ram + GPA_PML4) = GPA_PDPT | PTE_PWU;
	*(uint64_t *)(ram + GPA_PDPT) = GPA_PD | PTE_PWU;
	*(uint64_t *)(ram + GPA_PD + (L >> 21) * 8) = GPA_PT | PTE_PWU;
	for (unsigned i = 0; i < DATA_PAGES; i++)
		*pte(L + i * 4096) = data_gpa[i] | PTE_PWU;
	*pte(CODE) = GPA_CODE | PTE_PWU;
	*pte(CODE + 4096) = GPA_CODE_2 | PTE_PWU;
	for (unsigned i = 0; i < SEG_OPERANDS; i++)
		segments[i] = (struct segment_state){ .limit = 0xffffffff, .access = i == SEG_CS ? SEGMENT_CODE_32 : SEGMENT_DATA_32 };
	emu.gpr = gpr;
	emu.mode = DECODE_64;
	emu.rflags = 2;
	emu.mem = &memory;
	emu.paging = (struct guest_paging){ .cr0 = CR0_PE | CR0_PG | CR0_WP, .cr3 = GPA_PML4, .cr4 = CR4_PAE,
					    .efer = EFER_LMA | EFER_NXE, .maxphyaddr = 40 };
	emu.ctx = &emu;
	emu.segment = segment;
	emu.mmio_read = mmio_read;
	emu.mmio_write = mmio_write;
	emu.port_read = port_read;
	emu.port_write = port_write;
	mmio_reads = mmio_writes = port_accesses = 0;
}

static inline int setup(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	reset();
	return 0;
}

static inline uint64_t gpa_of(uint64_t linear)
{
	static const uint64_t page[DATA_PAGES] = { MMIO_A, MMIO_B, GPA_RAM_A, GPA_RAM_B };

	assert_true(linear >= L && linear < L + DATA_PAGES * 4096);
	return page[(linear - L) >> 12] | (linear & 0xfff);
}

/* The guest's view of the data page `i`. */
static inline uint8_t *guest_page(unsigned i)
{
	return i < 2 ? device[i] : ram + (i == 2 ? GPA_RAM_A : GPA_RAM_B);
}

static inline void put_code(uint64_t linear, const uint8_t *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = linear + i - CODE;

		ram[(at < 4096 ? GPA_CODE : GPA_CODE_2 - 4096) + at] = bytes[i];
	}
}

#endif
