/* SOURCES: vmm/vcpu/real_mode.c vmm/emulate/step.c vmm/emulate/step_alu.c vmm/emulate/step_bits.c vmm/emulate/step_control.c vmm/emulate/step_descriptor.c vmm/emulate/step_far.c vmm/emulate/step_fpu.c vmm/emulate/step_interrupt.c vmm/emulate/step_io.c vmm/emulate/step_memory.c vmm/emulate/step_muldiv.c vmm/emulate/step_shift.c vmm/emulate/step_stack.c vmm/emulate/step_state.c vmm/emulate/step_system.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* Real mode by emulation: when a vCPU goes there and when it leaves, what the engine knows of it, events, HLT, and what is pending meanwhile. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "tests/unit/fakes.h"
#include "vmm/devices/lapic.h"
#include "vmm/emulate/step.h"
#include "vmm/exits/exit.h"
#include "vmm/vcpu/vcpu_emulator.h"
#include "vmm/exits/msr.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/real_mode.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm_vcpu.h"

#define RAM_SIZE 0x20000UL
#define CODE_AT 0x7c00
#define HANDLER_AT 0x500 /* of each vector: 16 bytes further */
#define GDT_AT 0x3000
#define STACK_AT 0x7000

static _Alignas(4096) uint8_t ram[RAM_SIZE];
static struct vm vm;
static struct vcpu vcpu;
static struct vcpu *v = &vcpu;
static struct shadow_vcpu shadow;
static _Alignas(64) uint8_t arena[4096];

/* ---- The engine ---- */

static uint64_t reg[VCPU_REGISTERS];
static struct segment_state segment[SEG_COUNT];
static struct vcpu_event event;
static bool event_queued;
static unsigned segment_writes;

static uint64_t engine_read(struct vcpu *of, enum vcpu_register r) { assert_ptr_equal(of, v); return reg[r]; }
static void engine_write(struct vcpu *of, enum vcpu_register r, uint64_t value) { assert_ptr_equal(of, v); reg[r] = value; }

static void engine_write_segment(struct vcpu *of, enum segment_register s, const struct segment_state *state)
{
	assert_ptr_equal(of, v);
	segment[s] = *state;
	segment_writes++;
}

static bool engine_take_event(struct vcpu *of, struct vcpu_event *e)
{
	bool queued = event_queued;

	assert_ptr_equal(of, v);
	*e = event;
	event_queued = false;
	return queued;
}

static int engine_read_direct_msr(struct vcpu *of, uint32_t msr, uint64_t *value)
{
	(void)of;
	*value = 0x1234;
	return msr == MSR_SYSENTER_CS ? 0 : ERR_INVALID;
}

static uint64_t direct_msr;
static int engine_write_direct_msr(struct vcpu *of, uint32_t msr, uint64_t value)
{
	(void)of;
	assert_int_equal(msr, MSR_SYSENTER_CS);
	direct_msr = value;
	return 0;
}

static struct engine engine = {
	.read = engine_read, .write = engine_write, .write_segment = engine_write_segment, .take_event = engine_take_event,
	.read_direct_msr = engine_read_direct_msr, .write_direct_msr = engine_write_direct_msr,
};

static void queue_event(enum vcpu_event_type type, uint8_t vector)
{
	event = (struct vcpu_event){ type, vector, false, 0 };
	event_queued = true;
}

/* ---- Around it ---- */

static unsigned looks, turns, updates, dumps;
static uint32_t seen;                /* pending at the last look */
static bool (*on_look)(void);        /* NULL: the vCPU goes on while it is running */
static void (*on_turn)(void);

bool vcpu_prepare(struct vcpu *of)
{
	assert_ptr_equal(of, v);
	seen = v->pending;
	v->pending = 0;
	assert_true(++looks < 1000);
	return on_look ? on_look() : v->state == VCPU_RUNNING;
}

void exit_take_turn(struct vcpu *of)
{
	assert_ptr_equal(of, v);
	assert_true(++turns < 1000); /* the guest would never stop */
	if (fake.request_count)
		vcpu_look_again(v, PENDING_LEAVE); /* vm_request() posts it */
	if (on_turn)
		on_turn();
}

static void read_segment(void *ctx, enum segment_register which, struct segment_state *state)
{
	assert_ptr_equal(ctx, v);
	*state = segment[which];
}

void vcpu_emulator_load(struct vcpu *of)
{
	struct emulator *e = &of->emulator;

	e->rip = reg[VCPU_RIP];
	e->rflags = reg[VCPU_RFLAGS];
	e->paging.cr0 = reg[VCPU_CR0];
	e->paging.cr4 = reg[VCPU_CR4];
	e->segments = 0;
	of->gpr[GPR_RSP] = reg[VCPU_RSP];
}

int exit_write_cr(struct vcpu *of, unsigned cr, uint64_t value)
{
	(void)of;
	assert_int_equal(cr, 0);
	reg[VCPU_CR0] = value;
	return 0;
}

void exit_lookup_cpuid(struct vcpu *of, uint32_t leaf, uint32_t subleaf, uint32_t out[4]) { (void)of; (void)subleaf; memset(out, 0, 16); out[0] = leaf + 1; }
int msr_read(struct vcpu *of, uint32_t msr, uint64_t *value) { (void)of; *value = 0x5678; return msr == MSR_EFER ? 0 : ERR_INVALID; }
int msr_write(struct vcpu *of, uint32_t msr, uint64_t value) { (void)of; (void)msr; (void)value; return ERR_INVALID; }
void virtual_mmu_update(struct vcpu *of) { assert_ptr_equal(of, v); updates++; }
void virtual_mmu_invlpg(struct vcpu *of, uint64_t linear) { (void)of; (void)linear; }
void vcpu_dump(struct vcpu *of) { assert_ptr_equal(of, v); dumps++; }
uint64_t lapic_cr8(const struct lapic *l) { (void)l; return 0; }
void *vm_alloc(struct vm *of, uint32_t size) { assert_ptr_equal(of, &vm); assert_true(size <= sizeof(arena)); return arena; }
unsigned core_index(void) { return 0; }
void core_fpu_init(void) {}
uint16_t core_fpu_status(void) { return 0; }
uint16_t core_fpu_control(void) { return 0x37f; }

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(v, 0, sizeof(*v));
	memset(ram, 0, sizeof(ram));
	memset(arena, 0, sizeof(arena));
	memset(reg, 0, sizeof(reg));
	event_queued = false;
	segment_writes = looks = turns = updates = dumps = 0;
	seen = 0;
	on_look = NULL;
	on_turn = NULL;
	direct_msr = 0;
	engine.shadow_real_mode = false;
	strcpy(vm.config.name, "test");
	assert_int_equal(guest_memory_add(&vm.memory, 0, RAM_SIZE, ram), 0);
	vm_attach_vcpu(&vm, v);
	v->engine = &engine;
	v->shadow = &shadow;
	v->state = VCPU_RUNNING;
	v->emulator.gpr = v->gpr;
	v->emulator.mem = &vm.memory;
	v->emulator.paging.maxphyaddr = 36;
	v->emulator.ctx = v;
	v->emulator.segment = read_segment;
	for (unsigned s = 0; s < SEG_COUNT; s++)
		segment[s] = (struct segment_state){ 0, 0xffff, 0x93, 0 };
	segment[SEG_CS].access = 0x9b;
	segment[SEG_TR].access = 0x8b;
	segment[SEG_LDTR].access = 0x82;
	reg[VCPU_RIP] = CODE_AT;
	reg[VCPU_RSP] = STACK_AT;
	reg[VCPU_RFLAGS] = 2;
	reg[VCPU_CR0] = CR0_ET;
	reg[VCPU_IDT_LIMIT] = 0x3ff;
	for (unsigned vector = 0; vector < 256; vector++) {
		ram[4 * vector] = (uint8_t)(HANDLER_AT + 16 * vector);
		ram[4 * vector + 1] = (HANDLER_AT + 16 * vector) >> 8;
	}
	assert_int_equal(real_mode_create(v), 0);
	real_mode_check(v);
	v->pending = 0;
	return 0;
}

static void put(unsigned at, const char *bytes, unsigned n) { memcpy(ram + at, bytes, n); }
#define CODE(bytes) put(CODE_AT, bytes, sizeof(bytes) - 1)
#define HANDLER(vector, bytes) put(HANDLER_AT + 16 * (vector), bytes, sizeof(bytes) - 1)

/* ---- Who is emulated ---- */

static void test_only_where_the_cpu_cannot(void **state)
{
	(void)state;
	memset(v, 0, sizeof(*v));
	vm_attach_vcpu(&vm, v);
	v->engine = &engine;
	assert_int_equal(real_mode_create(v), 0); /* nested paging */
	assert_null(v->real_mode);
	v->shadow = &shadow;
	engine.shadow_real_mode = true;
	assert_int_equal(real_mode_create(v), 0);
	assert_null(v->real_mode);
	real_mode_check(v);
	assert_false(v->by_emulation);
	assert_int_equal(v->pending, 0);
	engine.shadow_real_mode = false;
	assert_int_equal(real_mode_create(v), 0);
	assert_non_null(v->real_mode);
	assert_ptr_equal(v->emulator.step, v->real_mode);
}

static void test_check(void **state)
{
	(void)state;
	v->by_emulation = false;
	reg[VCPU_CR0] = CR0_PE;
	real_mode_check(v);
	assert_false(v->by_emulation);
	assert_int_equal(v->pending, 0);
	reg[VCPU_CR0] = 0;
	real_mode_check(v);
	assert_true(v->by_emulation);
	assert_int_equal(v->pending, PENDING_YIELD); /* out of the engine's loop */
}

/* Into flat protected mode, as a boot loader does it: VM entry refuses the stack segment of real mode, until it is loaded. */
static void test_until_the_cpu_can_take_over(void **state)
{
	static const uint64_t gdt[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };

	(void)state;
	segment[SEG_SS].selector = 3; /* an RPL other than CS's */
	segment[SEG_SS].base = 0x30;
	memcpy(ram + GDT_AT, gdt, sizeof(gdt));
	ram[GDT_AT - 6] = sizeof(gdt) - 1;
	ram[GDT_AT - 3] = GDT_AT >> 8;
	CODE("\x0f\x01\x16\xfa\x2f"         /* lgdt [0x2ffa] */
	     "\x0f\x20\xc0\x0c\x01\x0f\x22\xc0" /* CR0.PE */
	     "\xea\x12\x7c\x08\x00"         /* jmp 8:7c12 */
	     "\x66\xb8\x10\x00\x8e\xd8\x8e\xc0\x8e\xd0\x8e\xe0\x8e\xe8"); /* DS, ES, SS, FS, GS */
	real_mode_run(v);
	assert_false(v->by_emulation);
	assert_int_equal(v->state, VCPU_RUNNING);
	assert_int_equal(v->emulated_instructions, 9);
	assert_int_equal(updates, 1);
	assert_int_equal(reg[VCPU_RIP], CODE_AT + 0x1c);
	assert_int_equal(reg[VCPU_CR0], CR0_ET | CR0_PE);
	assert_int_equal(reg[VCPU_GDT_BASE], GDT_AT);
	assert_int_equal(reg[VCPU_GDT_LIMIT], sizeof(gdt) - 1);
	assert_int_equal(segment[SEG_CS].selector, 8);
	assert_int_equal(segment[SEG_CS].access, 0xc09b);
	assert_int_equal(segment[SEG_ES].selector, 0x10);
	assert_int_equal(segment[SEG_GS].selector, 0); /* the CPU's own */
	assert_int_equal(segment_writes, 4);
	assert_int_equal(segment[SEG_SS].limit, 0xffffffff);
}

/* ---- Events ---- */

static void test_exception_and_halt(void **state)
{
	(void)state;
	CODE("\x0f\x0b");
	HANDLER(VECTOR_UD, "\xb8\x34\x12\xf4"); /* mov ax, 0x1234; hlt */
	real_mode_run(v);
	assert_int_equal(v->state, VCPU_HALTED);
	assert_true(v->by_emulation);
	assert_int_equal(seen, PENDING_EVALUATE); /* an interrupt may be there already */
	assert_int_equal(v->gpr[GPR_RAX], 0x1234);
	assert_int_equal(reg[VCPU_RIP], HANDLER_AT + 16 * VECTOR_UD + 4);
	assert_int_equal(reg[VCPU_RSP], STACK_AT - 6);
	assert_int_equal(ram[STACK_AT - 6] | ram[STACK_AT - 5] << 8, CODE_AT); /* a fault */
}

static void test_interrupt_ends_halt(void **state)
{
	(void)state;
	CODE("\xf4\x40\xf4"); /* hlt; inc ax; hlt */
	HANDLER(8, "\x43\xcf"); /* inc bx; iret */
	real_mode_run(v);
	assert_int_equal(v->state, VCPU_HALTED);
	v->state = VCPU_RUNNING;
	queue_event(EVENT_INTERRUPT, 8);
	real_mode_run(v);
	assert_int_equal(v->state, VCPU_HALTED);
	assert_int_equal(v->gpr[GPR_RAX], 1);
	assert_int_equal(v->gpr[GPR_RBX], 1);
	assert_int_equal(reg[VCPU_RIP], CODE_AT + 3);
	assert_int_equal(reg[VCPU_RSP], STACK_AT);
}

/* From NMI to IRET the engine is told that NMIs are blocked. */
static void test_nmi_blocking(void **state)
{
	(void)state;
	CODE("\xf4");
	HANDLER(VECTOR_NMI, "\xf4\xcf");
	queue_event(EVENT_NMI, VECTOR_NMI);
	real_mode_run(v);
	assert_int_equal(reg[VCPU_RIP], HANDLER_AT + 16 * VECTOR_NMI + 1);
	assert_int_equal(reg[VCPU_INTERRUPTIBILITY], INTERRUPTIBILITY_NMI);
	v->state = VCPU_RUNNING;
	looks = 0;
	v->nmis_pending = 1; /* a second one: there is a look for it at the IRET */
	real_mode_run(v);
	assert_int_equal(looks, 2);
	assert_int_equal(reg[VCPU_RIP], CODE_AT + 1);
	assert_int_equal(reg[VCPU_INTERRUPTIBILITY], 0);
}

/* An event that comes up at a look is delivered before the next instruction. */
static bool queue_at_look(void)
{
	if (looks == 1)
		queue_event(EVENT_INTERRUPT, 9);
	return v->state == VCPU_RUNNING;
}

static void test_event_from_a_look(void **state)
{
	(void)state;
	CODE("\xf4");
	HANDLER(9, "\xf4");
	on_look = queue_at_look;
	v->pending = PENDING_TIMER;
	real_mode_run(v);
	assert_int_equal(v->emulated_instructions, 1);
	assert_int_equal(reg[VCPU_RIP], HANDLER_AT + 16 * 9 + 1);
}

/* ---- What stops it ---- */

static void test_unsupported_instruction_stops_the_vm(void **state)
{
	(void)state;
	CODE("\xd8\xc1"); /* fadd */
	real_mode_run(v);
	assert_int_equal(fake.request_count, 1);
	assert_int_equal(fake.request, VM_REQUEST_STOP);
	assert_int_equal(dumps, 1);
	assert_int_equal(reg[VCPU_RIP], CODE_AT);
	assert_non_null(strstr(fake.log, "vm test: vcpu 0: real mode is emulated, and this instruction at 0:7c00 cannot be: d8 c1"));
}

static void test_code_where_no_memory_is(void **state)
{
	(void)state;
	segment[SEG_CS].selector = 0xf000;
	segment[SEG_CS].base = 0xf0000;
	real_mode_run(v);
	assert_int_equal(fake.request, VM_REQUEST_STOP);
	assert_int_equal(dumps, 1);
	assert_non_null(strstr(fake.log, "(no memory there)"));
}

static bool stop_at_look(void) { return false; }

static void test_triple_fault_resets(void **state)
{
	(void)state;
	CODE("\x44\x0f\x0b"); /* inc sp; ud2 */
	reg[VCPU_IDT_LIMIT] = 0;
	reg[VCPU_RSP] = 0x4000;
	on_look = stop_at_look;
	real_mode_run(v);
	assert_int_equal(reg[VCPU_RSP], 0x4001); /* the state is the engine's again */
	assert_int_equal(reg[VCPU_RIP], CODE_AT + 1);
	assert_true(fake.request_count > 0);
	assert_int_equal(fake.request, VM_REQUEST_RESET);
	assert_int_equal(seen, PENDING_LEAVE);
	assert_int_equal(dumps, 0);
}

/* ---- What is pending meanwhile ---- */

static bool go_on_for_three_looks(void)
{
	assert_int_equal(reg[VCPU_RIP], CODE_AT); /* the engine knows where the guest is */
	return looks < 3;
}

static void post_at_turn(void) { vcpu_look_again(v, PENDING_TIMER); }

static void test_pending_is_looked_at(void **state)
{
	(void)state;
	CODE("\xeb\xfe");
	on_look = go_on_for_three_looks;
	on_turn = post_at_turn;
	real_mode_run(v);
	assert_int_equal(looks, 3);
	assert_int_equal(turns, 3);
	assert_int_equal(seen, PENDING_TIMER);
	assert_true(v->by_emulation);
	assert_int_equal(v->emulated_instructions, 3 * 32 - 1); /* the core's interrupts every 32 instructions */
}

static bool reset_at_look(void)
{
	v->by_emulation = false; /* as vcpu_reset() does for a guest that starts in protected mode */
	return true;
}

static void test_reset_at_a_look(void **state)
{
	(void)state;
	CODE("\xeb\xfe");
	on_look = reset_at_look;
	v->pending = PENDING_RESET;
	real_mode_run(v);
	assert_int_equal(v->emulated_instructions, 0);
	assert_int_equal(updates, 0);
}

/* Interrupts are evaluated when the guest can take one again, behind the shadow of STI, and once. */
static uint64_t look_at_rip[4];

static bool note_look(void)
{
	assert_int_equal(seen, PENDING_EVALUATE);
	assert_true(looks <= ARRAY_SIZE(look_at_rip));
	look_at_rip[looks - 1] = reg[VCPU_RIP];
	return v->state == VCPU_RUNNING;
}

static void test_evaluated_when_interruptible(void **state)
{
	(void)state;
	CODE("\xfb\x90\x90\x90\xfa\x90\xfb\x90\x90\xf4"); /* sti; three nops; cli; nop; sti; two nops; hlt */
	on_look = note_look;
	real_mode_run(v);
	assert_int_equal(looks, 3);
	assert_int_equal(look_at_rip[0], CODE_AT + 2);
	assert_int_equal(look_at_rip[1], CODE_AT + 8);
	assert_int_equal(look_at_rip[2], CODE_AT + 10); /* HLT */
}

/* ---- What the emulator asks for ---- */

static void test_registers_of_the_engine(void **state)
{
	(void)state;
	reg[VCPU_DR3] = 0x77;
	CODE("\x66\xb8\xff\xff\xff\xff\x0f\x23\xf8" /* mov eax, -1; mov dr7, eax */
	     "\x0f\x21\xdb"                         /* mov ebx, dr3 */
	     "\x66\xb9\x74\x01\x00\x00\x0f\x32\x66\x89\xc6" /* rdmsr 0x174; mov esi, eax */
	     "\x66\xb8\x99\x00\x00\x00\x66\x31\xd2\x0f\x30" /* wrmsr: 0x99 */
	     "\x66\xb9\x98\x00\x00\x00\x0f\x30\xf4"); /* wrmsr of one that is not there: #GP */
	HANDLER(VECTOR_GP, "\xbf\x0d\x00\xf4");
	real_mode_run(v);
	assert_int_equal(reg[VCPU_DR7], 0xffff27ff);
	assert_int_equal(v->gpr[GPR_RBX], 0x77);
	assert_int_equal(v->gpr[GPR_RSI], 0x1234);
	assert_int_equal(direct_msr, 0x99);
	assert_int_equal(v->gpr[GPR_RDI], 13);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_only_where_the_cpu_cannot, setup),
		cmocka_unit_test_setup(test_check, setup),
		cmocka_unit_test_setup(test_until_the_cpu_can_take_over, setup),
		cmocka_unit_test_setup(test_exception_and_halt, setup),
		cmocka_unit_test_setup(test_interrupt_ends_halt, setup),
		cmocka_unit_test_setup(test_nmi_blocking, setup),
		cmocka_unit_test_setup(test_event_from_a_look, setup),
		cmocka_unit_test_setup(test_unsupported_instruction_stops_the_vm, setup),
		cmocka_unit_test_setup(test_code_where_no_memory_is, setup),
		cmocka_unit_test_setup(test_triple_fault_resets, setup),
		cmocka_unit_test_setup(test_pending_is_looked_at, setup),
		cmocka_unit_test_setup(test_reset_at_a_look, setup),
		cmocka_unit_test_setup(test_evaluated_when_interruptible, setup),
		cmocka_unit_test_setup(test_registers_of_the_engine, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
