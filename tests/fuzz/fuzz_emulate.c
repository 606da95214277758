/* SOURCES: vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* TEST: 25000 runs of up to 256 bytes */
/* Instructions on a device's registers, and INS and OUTS: the input is a vCPU's state, its page tables and its code. */
#include "tests/unit/emulate_fixture.h"
#include "tests/fuzz/fuzz.h"

static const enum decode_mode modes[] = { DECODE_64, DECODE_32, DECODE_16 };

static unsigned writes;

static void written(void *ctx, uint64_t gpa, unsigned size)
{
	FUZZ_CHECK(ctx == &emu && guest_ptr(&memory, gpa, size));
	writes++;
}

/* Near the window, or anything. */
static uint64_t value_of_register(struct input *in)
{
	unsigned how = (unsigned)take(in, 1);

	if (how < 0x80)
		return L + ((uint64_t)(how & 3) << 12) + (how & 0x40 ? 0xff0 : 0) + (how >> 2 & 15);
	return how < 0xa0 ? (uint64_t)how - 0x90 : how < 0xc0 ? take(in, 2) : how < 0xf0 ? L + take(in, 2) : take(in, 8);
}

/* Leaf entries mostly, which make the window's pages; else one of the tables'. */
static void page_tables(struct input *in, unsigned count)
{
	while (count--) {
		unsigned how = (unsigned)take(in, 1);
		uint64_t entry = (uint64_t)(how >> 4) << 60 | take(in, 5);

		if (how & 8)
			*(uint64_t *)(ram + GPA_PML4 + (how & 7) * 0x1000 % 0x4000) = entry;
		else
			*pte(how & 4 ? CODE + (how & 1) * 4096UL : L + (how & 3) * 4096UL) = entry;
	}
}

static void make_segments(struct input *in)
{
	for (unsigned i = 0; i < SEG_OPERANDS; i++) {
		segments[i].base = emu.mode == DECODE_64 || take(in, 1) & 1 ? 0 : take(in, 4);
		segments[i].limit = take(in, 1) & 1 ? 0xffffffff : (uint32_t)take_number(in);
		segments[i].access ^= 1U << take_below(in, 32) & (i == SEG_CS ? 0x1a02 : 0x1ffff);
	}
}

static void run(struct input *in, unsigned how, uint64_t fault)
{
	uint64_t before[16], rip = emu.rip, flags = emu.rflags;
	struct string_io io = { .port = (uint16_t)take(in, 1), .size = (uint8_t)(1U << take_below(in, 3)), .in = how & 1, .rep = how & 2,
				.address_size = (uint8_t)(how & 4 ? 2U << take_below(in, 3) : 0), .segment = (uint8_t)take_below(in, SEG_OPERANDS),
				.length = (uint8_t)(1 + take_below(in, 15)) };
	int verdict;

	memcpy(before, gpr, sizeof(gpr));
	emu.segments = 0;
	verdict = how & 8 ? emulate_string_io(&emu, &io, &result) : emulate_mmio(&emu, fault, &result);
	FUZZ_CHECK(verdict >= EMULATE_DONE && verdict < EMULATE_SHUTDOWN);
	FUZZ_CHECK(mmio_reads + mmio_writes + port_accesses <= 3 * EMULATE_STRING_MAX * 8);
	if (verdict == EMULATE_UNSUPPORTED) {
		FUZZ_CHECK(!memcmp(before, gpr, sizeof(gpr)) && emu.rip == rip && emu.rflags == flags);
		FUZZ_CHECK(result.byte_count <= sizeof(result.bytes) && result.length <= INSN_LENGTH_MAX);
	}
	if (verdict == EMULATE_EXCEPTION)
		FUZZ_CHECK(emu.rip == rip && result.vector < 32 && (result.vector == VECTOR_PF || !result.cr2));
	if (verdict == EMULATE_DONE && !(how & 8))
		FUZZ_CHECK(result.length && (emu.mode == DECODE_64 ? emu.rip == rip + result.length : !(emu.rip >> 32)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)take(&in, 1), more = (unsigned)take(&in, 1), code_at = (unsigned)take(&in, 1);
	uint64_t fault = (how & 0x40 ? MMIO_B : MMIO_A) | (take(&in, 2) & 0xfff);
	struct insn insn;

	memset(ram, 0, sizeof(ram));
	memset(device, 0x5a, sizeof(device));
	memset(&result, 0, sizeof(result));
	reset();
	writes = 0;
	emu.mode = modes[(how >> 4 & 3) % 3];
	if (emu.mode != DECODE_64) {
		segments[SEG_CS].access = emu.mode == DECODE_32 ? 0xc09b : 0x809b;
		if (more & 1)
			make_segments(&in);
	}
	emu.rflags = 2 | (more & 2 ? RFLAGS_DF : 0) | (more & 4 ? RFLAGS_STATUS : 0);
	emu.paging.cpl = more & 8 ? 3 : 0;
	emu.paging.cr4 |= (more & 0x10 ? CR4_SMAP : 0) | (more & 0x20 ? CR4_SMEP : 0);
	if (more & 0x40)
		emu.written = written;
	emu.fault_write = how & 0x80;
	for (unsigned i = 0; i < 16; i++)
		gpr[i] = value_of_register(&in);
	page_tables(&in, more & 0x80 ? take_below(&in, 5) : 0);
	emu.rip = CODE + (code_at & 0x80 ? 0xff0 + (code_at & 31) : code_at);
	put_code(emu.rip, in.at, (unsigned)(in.left < 32 ? in.left : 32));
	if (emu.mode != DECODE_64)
		emu.rip -= segments[SEG_CS].base;
	if (emu.mode == DECODE_16 && !segments[SEG_CS].base) {
		segments[SEG_CS].base = CODE;
		emu.rip -= CODE;
	}
	for (unsigned i = 0; i < 1 + (code_at >> 5 & 1) && in.left; i++) {
		struct input arguments = { in.at + in.left / 2, in.left - in.left / 2 };

		run(&arguments, how, fault);
	}
	if (!decode(&insn, result.bytes, result.byte_count, emu.mode) && insn.flags & INSN_MEM) {
		uint64_t value = 0;

		(void)emulate_linear(&emu, &insn);
		(void)emulate_operand(&emu, &insn, insn.operand_size, &value, &result);
		(void)emulate_operand_write(&emu, &insn, insn.operand_size, value, &result);
	}
	return 0;
}
