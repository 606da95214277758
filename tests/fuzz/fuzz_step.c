/* SOURCES: tests/unit/step_machine.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* TEST: 8000 runs of up to 320 bytes */
/* The stepper in every mode: the input is a vCPU's state, what it finds in its descriptor and page tables, and its code, of which up to 16
 * instructions are run, and interrupts between them. */
#include "tests/unit/unit.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>

#include "lib/x86/registers.h"
#include "tests/unit/step_machine.h"

#define PAGE_TABLES 0x9000
#define CODE_AT 0x4000
#define TEMPLATE_SIZE 0x10000UL

enum { REAL, PROTECTED, USER, VIRTUAL_8086, LONG };

static uint8_t template[TEMPLATE_SIZE];

/* The tables of protected_mode_setup() in memory that is zero elsewhere: only the pages that were written cost something. */
static void make_machine(void)
{
	if (!template[GDT_AT + 8]) {
		protected_mode_setup();
		set_dword(PAGE_TABLES, PAGE_TABLES + 0x1007);
		set_dword(PAGE_TABLES + 0x1000, 0x87);
		memcpy(template, ram, sizeof(template));
	}
	FUZZ_CHECK(!madvise(ram, RAM_SIZE, MADV_DONTNEED));
	memcpy(ram, template, sizeof(template));
	reset();
}

static void make_segments(struct input *in, unsigned kind)
{
	unsigned how = (unsigned)take(in, 1);

	for (unsigned i = 0; i < SEG_OPERANDS; i++)
		segments[i] = (struct segment_state){ .limit = kind == REAL || kind == VIRTUAL_8086 ? 0xffff : 0xffffffff, .access = (i == SEG_CS ? 0x9b : 0x93) | (kind == USER || kind == VIRTUAL_8086 ? 0x60 : 0) | (how & 1 ? 0x4000 : 0), .selector = i == SEG_CS ? 8 : 0x10 };
	segments[SEG_TR] = (struct segment_state){ .base = TSS_AT, .limit = how & 2 ? (uint32_t)take(in, 1) : 0x67, .access = how & 4 ? 0x83 : 0x8b, .selector = 0x40 };
	segments[SEG_LDTR] = (struct segment_state){ .base = 0x2000, .limit = 0x1f, .access = how & 8 ? 0x82 : 0x10082, .selector = 0x58 };
	for (unsigned n = how >> 4 & 3; n; n--) {
		struct segment_state *s = &segments[take_below(in, SEG_COUNT)];

		switch (take_below(in, 4)) {
		case 0: s->base = take(in, 4); break;
		case 1: s->limit = (uint32_t)take_number(in); break;
		case 2: s->access ^= 1U << take_below(in, 17); break;
		default: s->selector = (uint16_t)take(in, 2); break;
		}
	}
	if (kind == LONG)
		segments[SEG_CS].access |= 0x2000;
}

static void make_state(struct input *in, unsigned kind)
{
	unsigned how = (unsigned)take(in, 1);

	step.gdtr = (struct step_table){ GDT_AT, how & 1 ? (uint16_t)take(in, 1) : 0x67 };
	step.idtr = (struct step_table){ kind == REAL ? 0 : IDT_AT, how & 2 ? (uint16_t)take(in, 2) : 0x7ff };
	step.shadow = how >> 2 & 3;
	emu.paging.cr0 |= kind != REAL ? CR0_PE : 0;
	emu.rflags = (take(in, 3) & 0x255fd5) | RFLAGS_FIXED | (kind == VIRTUAL_8086 ? RFLAGS_VM : 0);
	if (kind == LONG)
		emu.paging.efer = EFER_LMA | EFER_LME | (how & 0x40 ? EFER_NXE : 0);
	if (kind == LONG || (kind != REAL && how & 0x10)) {
		emu.paging.cr0 |= CR0_PG | (how & 0x20 ? CR0_WP : 0);
		emu.paging.cr3 = PAGE_TABLES;
		emu.paging.cr4 = (take(in, 3) & 0x3000bf) | (kind == LONG ? CR4_PAE : 0);
		if (kind != LONG)
			set_dword(PAGE_TABLES, 0x87);
	}
	for (unsigned i = 0; i < 16; i++)
		gpr[i] = how & 0x80 ? take_number(in) : 0x5000 + 0x100 * i;
}

static void change_memory(struct input *in)
{
	for (unsigned n = take_below(in, 4); n; n--) {
		static const unsigned places[] = { GDT_AT, IDT_AT, TSS_AT, PAGE_TABLES, 0x2000, 0, 0x5000, 0x7000 };
		unsigned at = places[take_below(in, ARRAY_SIZE(places))] + 8 * take_below(in, 64);
		uint64_t value = take(in, 8);

		memcpy(ram + at, &value, 8);
	}
}

static void one(struct input *in)
{
	uint64_t before[16], rip = emu.rip, flags = emu.rflags;
	unsigned how = (unsigned)take(in, 1);
	int verdict;

	memcpy(before, gpr, sizeof(gpr));
	verdict = how >= 0xf0 ? emulate_interrupt(&emu, (uint8_t)take(in, 1), how & 1, how & 2 ? (int64_t)take(in, 2) : -1, &result) :
				emulate_step(&emu, &result);
	FUZZ_CHECK(verdict >= EMULATE_DONE && verdict <= EMULATE_SHUTDOWN);
	(void)emulate_enterable(&emu);
	if (verdict == EMULATE_UNSUPPORTED && !(flags & RFLAGS_TF)) {
		/* But for a repeated instruction's part before a fault whose gate is a task gate. */
		before[REG_RCX] = gpr[REG_RCX];
		before[REG_RSI] = gpr[REG_RSI];
		before[REG_RDI] = gpr[REG_RDI];
		FUZZ_CHECK(!memcmp(gpr, before, sizeof(gpr)) && emu.rip == rip);
	}
	if (verdict == EMULATE_EXCEPTION)
		FUZZ_CHECK(emu.paging.efer & EFER_LMA && result.vector < 32);
	FUZZ_CHECK(emu.paging.cpl == 0 || emu.paging.cpl <= 3);
	FUZZ_CHECK((emu.rflags & RFLAGS_FIXED) && !(emu.rflags & ~0x3f7fd7ULL));
	FUZZ_CHECK(emu.paging.efer & EFER_LMA || !(emu.rip >> 32) || verdict != EMULATE_DONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned kind = take_below(&in, LONG + 1), steps = 1 + take_below(&in, 16);

	make_machine();
	make_segments(&in, kind);
	make_state(&in, kind);
	change_memory(&in);
	for (size_t i = 0; i < in.left && i < 0x1000; i++)
		ram[CODE_AT + i] = in.at[i];
	emu.rip = CODE_AT - (segments[SEG_CS].base < CODE_AT ? segments[SEG_CS].base : 0);
	/* What comes between the instructions is read from the code's far end. */
	in.at += in.left / 2;
	in.left -= in.left / 2;
	while (steps--)
		one(&in);
	return 0;
}
