/* SOURCES: tests/unit/step_machine.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Random code and state in every mode that is emulated. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "tests/unit/step_machine.h"

/* Random code and state in every mode: a verdict and nothing else; what is refused has changed nothing. */
static void test_random(void **state)
{
	unsigned count[5] = { 0 };

	(void)state;
	protected_mode_setup();
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t at, before[16], rip, flags, r[2] = { random64(), random64() };
		unsigned n, kind = random_below(5), verdict;

		if (!(i & 0x1ff)) {
			protected_mode_setup();
			for (n = 0; n < 0x10000; n += 8)
				if (random_below(16) == 0)
					memcpy(ram + n, &(uint64_t){ random64() }, 8);
		}
		reset();
		step.gdtr = (struct step_table){ GDT_AT, (uint16_t)random_below(0x200) };
		step.idtr = (struct step_table){ IDT_AT, (uint16_t)random_below(0x800) };
		for (n = 0; n < SEG_COUNT; n++) {
			segments[n] = (struct segment_state){ .base = random_below(4) ? 0 : random64() & 0xffffff, .limit = random_below(4) ? 0xffffffff : (uint32_t)random64(), .access = (n == SEG_CS ? 0x9b : 0x93) | (kind == 2 ? 0x60 : 0), .selector = (uint16_t)random_below(0x80) };
			if (random_below(8) == 0)
				segments[n].access ^= 1U << random_below(17);
			if (kind == 1 || random_below(2))
				segments[n].access |= 0x4000;
		}
		segments[SEG_TR] = (struct segment_state){ .base = TSS_AT, .limit = random_below(0x100), .access = random_below(2) ? 0x8b : 0x83, .selector = 0x40 };
		emu.paging.cr0 |= kind ? CR0_PE : 0;
		emu.rflags = (random64() & 0x277fd5) | 2;
		if (kind == 3)
			emu.rflags |= RFLAGS_VM;
		if (kind == 4) {
			emu.paging.efer = EFER_LMA | EFER_LME;
			segments[SEG_CS].access |= 0x2000;
		}
		if (kind && (kind == 4 || random_below(4) == 0)) {
			emu.paging.cr0 |= CR0_PG;
			emu.paging.cr3 = 0x9000;
			emu.paging.cr4 = random64() & 0x3000bf;
			if (kind == 4) {
				emu.paging.cr4 |= CR4_PAE;
				set_dword(0x9000, 0xa007);
				set_dword(0xa000, 0x87);
			}
		}
		for (n = 0; n < 16; n++)
			gpr[n] = random_below(2) ? random_below(0x10000) : random64() >> random_below(64);
		at = 0x4000 + random_below(0x1000);
		memcpy(ram + at, r, 16);
		if (random_below(3) == 0)
			ram[at] = 0x0f;
		emu.rip = rip = at - (segments[SEG_CS].base < at ? segments[SEG_CS].base : 0);
		memcpy(before, gpr, sizeof(gpr));
		flags = emu.rflags;
		verdict = random_below(16) ? (unsigned)emulate_step(&emu, &result) :
					     (unsigned)emulate_interrupt(&emu, (uint8_t)random64(), random_below(2), -1, &result);
		assert_true(verdict <= EMULATE_SHUTDOWN);
		count[verdict]++;
		(void)emulate_enterable(&emu);
		/* But for what led to a trap or fault whose gate is a task gate: the instruction, or some of its repetitions. */
		if (verdict == EMULATE_UNSUPPORTED && !(flags & RFLAGS_TF)) {
			before[REG_RCX] = gpr[REG_RCX];
			before[REG_RSI] = gpr[REG_RSI];
			before[REG_RDI] = gpr[REG_RDI];
			assert_memory_equal(gpr, before, sizeof(gpr));
			assert_int_equal(emu.rip, rip);
		}
		if (verdict == EMULATE_EXCEPTION)
			assert_true(emu.paging.efer & EFER_LMA);
	}
	print_message("done %u, retry %u, exception %u, unsupported %u, shutdown %u\n", count[0], count[1], count[2], count[3], count[4]);
	for (unsigned i = 0; i < 5; i++)
		assert_true(count[i] > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
