/* SOURCES: tests/unit/step_forms.c tests/unit/step_native.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* TEST: 10000 runs of up to 128 bytes */
/* The stepper against the host's CPU: the input chooses the mode and one of the instructions that both can run, then all that is left open
 * in it, operands and registers. */
#include "tests/fuzz/fuzz.h"

#include <signal.h>

#include "tests/unit/step_forms.h"

#define FORMS_MAX 512

static struct form forms[FORMS_MAX];
static bool known[FORMS_MAX];
static unsigned count;
static struct input in;

static void collect(const struct form *f, unsigned times)
{
	FUZZ_CHECK(count < FORMS_MAX);
	known[count] = times;
	forms[count++] = *f;
}

/* Small numbers come of one byte, so that a choice costs no more. */
static uint64_t next_choice(void)
{
	unsigned how = (unsigned)take(&in, 1);

	return how < 0xe0 ? (uint64_t)how << 20 | how : how < 0xf0 ? -(uint64_t)(how & 15) : take(&in, 8);
}

static void begin(void)
{
	sigset_t timer;

	FUZZ_CHECK(!native_setup(NULL));
	step_forms_mov(collect);
	step_forms_arithmetic(collect);
	step_forms_multiply(collect);
	step_forms_divide(collect);
	step_forms_shifts(collect);
	step_forms_double_shifts(collect);
	step_forms_bits(collect);
	step_forms_decimal(collect);
	step_forms_flag_instructions(collect);
	step_forms_stack(collect);
	/* libFuzzer's clock must not strike while the stack is a guest's. */
	sigemptyset(&timer);
	sigaddset(&timer, SIGALRM);
	FUZZ_CHECK(!sigprocmask(SIG_BLOCK, &timer, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum decode_mode mode;
	unsigned n;

	if (!count)
		begin();
	in = (struct input){ data, size };
	mode = (enum decode_mode)take_below(&in, 3);
	n = take_below(&in, FORMS_MAX) % count;
	if (!known[n] || (mode == DECODE_64 && forms[n].how & F_NO_64) || (mode != DECODE_64 && !native_have_ldt))
		return 0;
	native_seed(1 + take(&in, 1));
	native_random_source = next_choice;
	native_reset(mode);
	(void)step_form_try(mode, &forms[n]);
	return 0;
}
