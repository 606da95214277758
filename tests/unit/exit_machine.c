#include "tests/unit/exit_machine.h"

#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/exits/exit_string_io.h"
#include "vmm/exits/msr.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/cr3_exits.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/real_mode.h"

#define LENGTH 3

struct vm vm;
struct vcpu v;
uint64_t reg[VCPU_REGISTERS];
struct exit_done done;
struct exit_next next;
static struct sched_slot slot;

/* ---- The engine ---- */

static uint64_t engine_read(struct vcpu *of, enum vcpu_register r) { (void)of; return reg[r]; }
static void engine_write(struct vcpu *of, enum vcpu_register r, uint64_t value) { (void)of; reg[r] = value; }
static void engine_advance(struct vcpu *of, unsigned length) { (void)of; done.advances++; done.advanced_by = length; }
static void engine_inject(struct vcpu *of, const struct vcpu_event *event)
{
	(void)of;
	assert_int_equal(event->type, EVENT_EXCEPTION);
	done.injections++;
	done.vector = event->vector;
	done.has_error = event->has_error;
	done.error = event->error;
}
static void engine_interrupt_window(struct vcpu *of, bool on) { (void)of; done.interrupt_window = on; }
static void engine_nmi_window(struct vcpu *of, bool on) { (void)of; done.nmi_window = on; }
static int engine_set_cr0(struct vcpu *of, uint64_t value) { (void)of; done.cr0 = value; return next.refuse_cr0 ? ERR_INVALID : 0; }
static int engine_set_cr4(struct vcpu *of, uint64_t value) { (void)of; done.cr4 = value; return next.refuse_cr4 ? ERR_INVALID : 0; }
static void engine_context(struct vcpu *of, struct vcpu_context *c)
{
	(void)of;
	*c = (struct vcpu_context){ .efer = EFER_LMA, .cs_access = next.compatibility ? 0xc09b : 0xa09b,
				    .cr0 = next.cr0, .cr4 = next.cr4, .ss_access = 0xc093 | next.cpl << 5 };
}
static const struct engine engine = {
	.read = engine_read,
	.write = engine_write,
	.read_context = engine_context,
	.advance = engine_advance,
	.inject = engine_inject,
	.interrupt_window = engine_interrupt_window,
	.nmi_window = engine_nmi_window,
	.set_cr0 = engine_set_cr0,
	.set_cr4 = engine_set_cr4,
};

/* ---- Around it ---- */

jmp_buf end_of_machine;

bool core_interrupt(uint8_t vector) { done.acknowledged = vector; return false; }
bool core_take_interrupts(void) { done.taken++; return false; }
void core_nmi(void) { done.nmis++; }
void core_machine_check(void) { done.machine_checks++; longjmp(end_of_machine, 1); }
void core_set_xcr0(uint64_t value) { done.xcr0 = value; }
bool sched_should_yield(struct vcpu *of) { (void)of; return next.yield; }

uint64_t vcpu_read_gpr(struct vcpu *of, unsigned gpr) { return gpr == GPR_RSP ? reg[VCPU_RSP] : of->gpr[gpr]; }
void vcpu_write_gpr(struct vcpu *of, unsigned gpr, uint64_t value) { *(gpr == GPR_RSP ? &reg[VCPU_RSP] : &of->gpr[gpr]) = value; }
void vcpu_inject_exception(struct vcpu *of, uint8_t vector, uint32_t error)
{
	const struct vcpu_event event = { EVENT_EXCEPTION, vector, vector_has_error_code(vector), error };

	engine_inject(of, &event);
}
void vcpu_dump(struct vcpu *of) { (void)of; done.dumps++; }
bool vcpu_may_enter(struct vcpu *of) { (void)of; done.may_enters++; return next.may_enter; }
void virtual_mmu_update(struct vcpu *of) { (void)of; done.mmu_updates++; }
void real_mode_check(struct vcpu *of) { (void)of; done.mode_checks++; }
int cr3_write(struct vcpu *of, uint64_t value) { (void)of; done.cr3 = value; return next.refuse_cr3 ? ERR_INVALID : 0; }

void lapic_set_cr8(struct lapic *l, uint64_t value) { (void)l; done.cr8 = value; }
uint64_t lapic_cr8(const struct lapic *l) { (void)l; return 11; }
void lapic_write_done(struct lapic *l, unsigned offset) { (void)l; done.apic_write = offset; }
void lapic_eoi_vector(struct lapic *l, uint8_t vector) { (void)l; done.eoi = vector; }

int msr_read(struct vcpu *of, uint32_t msr, uint64_t *value)
{
	(void)of;
	*value = 0x1122334455667788 + msr;
	return next.refuse_msr ? ERR_INVALID : 0;
}
int msr_read_counter(struct vcpu *of, uint32_t counter, uint64_t *value)
{
	(void)of;
	*value = 0x1122334455667788 + counter;
	return next.refuse_msr ? ERR_INVALID : 0;
}
int msr_write(struct vcpu *of, uint32_t msr, uint64_t value)
{
	(void)of;
	done.operand = value;
	done.operand_size = msr;
	return next.refuse_msr ? ERR_INVALID : 0;
}

uint64_t io_space_read(struct io_space *space, uint64_t addr, unsigned size)
{
	assert_ptr_equal(space, &vm.pio);
	done.port = addr;
	done.port_size = size;
	done.reads_of_ports++;
	return 0xa1b2c3d4;
}
void io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value)
{
	assert_ptr_equal(space, &vm.pio);
	done.port = addr;
	done.port_size = size;
	done.port_value = value;
}

/* Handlers that stand elsewhere. */
#define ELSEWHERE(handler) enum verdict handler(struct vcpu *of, struct vm_exit *exit) { (void)of; (void)exit; return (enum verdict)next.verdict; }
ELSEWHERE(handle_nested_fault)
ELSEWHERE(handle_page_fault)
ELSEWHERE(handle_apic_access)
ELSEWHERE(handle_invlpg)
ELSEWHERE(handle_cr3_read)
ELSEWHERE(handle_cr3_write)
enum verdict exit_string_io(struct vcpu *of, struct vm_exit *exit) { (void)of; (void)exit; done.strings++; return VERDICT_RESUME; }

/* RAM, page tables' included, or a device below: their locks may be waited for by who waits for this vCPU to be out of the guest. */
static int operand(struct vcpu *of, const struct insn *insn, unsigned size)
{
	assert_false(of->in_guest);
	assert_ptr_equal(insn, v.exit.cr.insn);
	done.operands++;
	done.operand_size = size;
	return next.no_operand ? ERR_BUSY : 0;
}
int exit_operand(struct vcpu *of, const struct insn *insn, unsigned size, uint64_t *value)
{
	*value = next.operand;
	return operand(of, insn, size);
}
int exit_operand_write(struct vcpu *of, const struct insn *insn, unsigned size, uint64_t value)
{
	done.operand = value;
	return operand(of, insn, size);
}

int exit_setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	memset(&slot, 0, sizeof(slot));
	memset(reg, 0, sizeof(reg));
	memset(&next, 0, sizeof(next));
	vm.engine = &engine;
	vm_attach_vcpu(&vm, &v);
	v.slot = &slot;
	v.turn_ticks = UINT32_MAX;
	reg[VCPU_CR0] = 0x80050033;
	reg[VCPU_CR4] = 0x6f0;
	for (unsigned i = 0; i < GPR_COUNT; i++)
		v.gpr[i] = 0x1010101010101010U * i + 0x8000000000000000;
	return 0;
}

bool leave(enum vm_exit_kind kind)
{
	memset(&done, 0, sizeof(done));
	done.vector = done.interrupt_window = done.nmi_window = done.acknowledged = NONE;
	fake.request_count = 0;
	v.exit.kind = kind;
	v.exit.length = LENGTH;
	v.in_guest = true;
	v.pending = 0;
	return vcpu_exit(&v);
}

void advanced(void)
{
	assert_int_equal(done.advances, 1);
	assert_int_equal(done.advanced_by, v.exit.length);
	assert_int_equal(done.injections, 0);
	assert_int_equal(done.dumps, 0);
	assert_int_equal(fake.request_count, 0);
}

void stayed(void)
{
	assert_int_equal(done.advances, 0);
	assert_int_equal(done.injections, 0);
	assert_int_equal(done.dumps, 0);
}

void injected(uint8_t vector, bool has_error, uint32_t error)
{
	assert_int_equal(done.advances, 0);
	assert_int_equal(done.injections, 1);
	assert_int_equal(done.vector, vector);
	assert_int_equal(done.has_error, has_error);
	if (has_error)
		assert_int_equal(done.error, error);
	assert_int_equal(done.dumps, 0);
}

void stopped(const char *why)
{
	assert_int_equal(done.advances, 0);
	assert_int_equal(done.injections, 0);
	assert_int_equal(done.dumps, 1);
	assert_int_equal(fake.request_count, 1);
	assert_int_equal(fake.request, VM_REQUEST_STOP);
	assert_string_equal(fake.request_why, why);
}
