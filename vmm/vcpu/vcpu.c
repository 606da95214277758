#include "vmm/vcpu/vcpu.h"

#include "lib/log.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/real_mode.h"
#include "vmm/vcpu/vcpu_emulator.h"
#include "vmm/vm/vm.h"

/* So often interrupts are let in while a guest with IF=0 polls a device, in case they do not exit by themselves (vmx_vcpu.c, SLICE_HZ). */
#define TURN_HZ 20
#define ROUNDS_MAX 8 /* so often vcpu_prepare() looks for more to do before it lets the core go */
#define CODE_BYTES_SHOWN 16

bool vcpu_debug_bad_entry;

uint64_t vcpu_read_gpr(struct vcpu *v, unsigned gpr)
{
	return gpr == GPR_RSP ? vcpu_read(v, VCPU_RSP) : v->gpr[gpr];
}

void vcpu_write_gpr(struct vcpu *v, unsigned gpr, uint64_t value)
{
	if (gpr == GPR_RSP)
		vcpu_write(v, VCPU_RSP, value);
	else
		v->gpr[gpr] = value;
}

void vcpu_notify(struct vcpu *v, uint32_t bits)
{
	uint32_t before = __atomic_fetch_or(&v->pending, bits, __ATOMIC_SEQ_CST);

	/* On its own core a running vCPU looks at `pending` before it enters the guest again. */
	if ((before & bits) == bits || !v->slot || (v->running && v->slot->core == core_index()))
		return;
	sched_wake(v->slot);
}

int vcpu_create(struct vcpu *v, struct vm *vm, unsigned index)
{
	void *page = vm_alloc_pages(vm, 1);
	int err;

	if (!page)
		return ERR_NOMEM;
	v->vm = vm;
	v->index = index;
	v->engine = vm->engine;
	v->state = VCPU_PARKED; /* until the VM starts */
	v->turn_ticks = (uint32_t)MIN(time_hz() / TURN_HZ, (uint64_t)UINT32_MAX);
	v->hw_delivery = vm->engine->hw_delivery(vm);
	timer_queue_init(&v->timers, v);
	lapic_init(&v->lapic, vm, index, index, page, v->hw_delivery);
	err = lapic_bus_add(&vm->lapics, &v->lapic);
	if (err)
		return err;
	vcpu_emulator_init(v);
	if (vm->shadow && (virtual_mmu_add_vcpu(v) || real_mode_create(v)))
		return ERR_NOMEM;
	v->kickable = vm->shadow && vm->config.numvcpus > 1;
	return vm->engine->vcpu_create(v);
}

static void load_start_state(struct vcpu *v, const struct guest_start *start)
{
	bool long_mode = start->mode == GUEST_START_LONG;
	struct segment_state code = { start->cs, 0xffffffff, long_mode ? 0xa09b : 0xc09b, 0 };
	const struct segment_state data = { start->ds, 0xffffffff, 0xc093, 0 };

	v->gpr[GPR_RAX] = start->rax;
	v->gpr[GPR_RBX] = start->rbx;
	v->gpr[GPR_RSI] = start->rsi;
	vcpu_write(v, VCPU_CR0, start->cr0);
	vcpu_write(v, VCPU_CR3, start->cr3);
	vcpu_write(v, VCPU_CR4, start->cr4);
	vcpu_write(v, VCPU_EFER, start->efer);
	vcpu_write(v, VCPU_GDT_BASE, start->gdt_base);
	vcpu_write(v, VCPU_GDT_LIMIT, start->gdt_limit);
	vcpu_write(v, VCPU_IDT_LIMIT, 0);
	if (vcpu_debug_bad_entry)
		code.access &= ~(uint32_t)BIT(7); /* not present */
	v->engine->write_segment(v, SEG_CS, &code);
	for (enum segment_register s = SEG_ES; s <= SEG_GS; s++)
		if (s != SEG_CS)
			v->engine->write_segment(v, s, &data);
	vcpu_write(v, VCPU_RIP, start->rip);
}

/* The state after INIT or power-up (SDM vol. 3, "Processor State After Reset"); RDX is the CPU's signature. */
static void reset_registers(struct vcpu *v, bool init)
{
	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[GPR_RDX] = v->vm->cpuid.basic[1][CPUID_EAX];
	v->nmi_pending = false;
	v->by_emulation = false;
	if (!init) {
		v->xcr0 = 1;
		v->misc_enable = BIT(0) | BIT(11) | BIT(12);
	}
	v->engine->vcpu_reset(v, init);
	v->shadow_root = 0; /* the engine has forgotten it */
	virtual_mmu_update(v);
	real_mode_check(v);
}

void vcpu_apply_apic_mode(struct vcpu *v)
{
	const struct lapic *l = &v->lapic;

	if (v->hw_delivery) {
		v->engine->apic_mode(v, !l->enabled ? APIC_MODE_DISABLED : l->x2apic ? APIC_MODE_X2APIC : APIC_MODE_XAPIC);
		v->engine->eoi_exits(v, l->eoi_exit);
		v->engine->virtual_interrupts(v, (uint8_t)MAX(lapic_highest_irr(l), 0), (uint8_t)MAX(lapic_highest_isr(l), 0));
	}
}

void vcpu_reset(struct vcpu *v)
{
	bool bsp = v->index == 0;

	v->tsc_adjust = 0;
	lapic_reset(&v->lapic, bsp);
	lapic_set_tsc_offset(&v->lapic, v->vm->tsc_offset);
	reset_registers(v, false);
	vcpu_apply_apic_mode(v);
	v->state = bsp ? VCPU_RUNNING : VCPU_WAIT_FOR_SIPI;
	if (bsp) {
		lapic_virtual_wire(&v->lapic);
		load_start_state(v, &v->vm->start);
		virtual_mmu_update(v);
		v->by_emulation = false;
		real_mode_check(v);
	}
}

static void take_init(struct vcpu *v)
{
	if (v->index == 0) {
		/* There is no firmware at the reset vector: what it would do is start the machine over. */
		vm_request(v->vm, VM_REQUEST_RESET, "INIT to the boot processor");
		return;
	}
	lapic_init_reset(&v->lapic);
	reset_registers(v, true);
	vcpu_apply_apic_mode(v);
	v->state = VCPU_WAIT_FOR_SIPI;
}

static void take_sipi(struct vcpu *v)
{
	struct segment_state cs;

	if (v->state != VCPU_WAIT_FOR_SIPI)
		return;
	v->engine->read_segment(v, SEG_CS, &cs);
	cs.selector = (uint16_t)(v->sipi_vector << 8);
	cs.base = (uint64_t)v->sipi_vector << 12;
	v->engine->write_segment(v, SEG_CS, &cs);
	vcpu_write(v, VCPU_RIP, 0);
	v->state = VCPU_RUNNING;
}

void vcpu_inject_exception(struct vcpu *v, uint8_t vector, uint32_t error)
{
	const struct vcpu_event event = { EVENT_EXCEPTION, vector, vector_has_error_code(vector), error };

	v->engine->inject(v, &event);
}

/* PDPTE reserved bits are left to the CPU. */
int vcpu_read_pdptes(struct vcpu *v, uint64_t cr3, uint64_t pdpte[4])
{
	return guest_read(&v->vm->memory, cr3 & 0xffffffe0, pdpte, 4 * sizeof(pdpte[0]));
}

/* The 8259s are wired to vCPU 0's LINT0. */
static bool pic_requests(const struct vcpu *v)
{
	return v->index == 0 && vm_pic_waiting(v->vm) && lapic_accepts_pic(&v->lapic);
}

static bool interrupt_requests(const struct vcpu *v)
{
	return lapic_pending(&v->lapic) >= 0 || pic_requests(v);
}

static void inject_interrupt(struct vcpu *v, uint8_t vector)
{
	const struct vcpu_event event = { EVENT_INTERRUPT, vector, false, 0 };

	v->engine->inject(v, &event);
}

static void deliver_nmi(struct vcpu *v)
{
	const struct vcpu_event event = { EVENT_NMI, 2, false, 0 };

	if (!v->nmi_pending)
		return;
	if (v->engine->can_inject(v, EVENT_NMI)) {
		v->nmi_pending = false;
		v->engine->inject(v, &event);
	} else {
		v->engine->nmi_window(v, true);
	}
}

static void deliver_pic(struct vcpu *v)
{
	int vector;

	if (!v->engine->can_inject(v, EVENT_INTERRUPT)) {
		v->engine->interrupt_window(v, true);
		return;
	}
	spin_lock(&v->vm->irq_lock);
	vector = pic_acknowledge(&v->vm->pic);
	spin_unlock(&v->vm->irq_lock);
	inject_interrupt(v, (uint8_t)vector);
	if (interrupt_requests(v))
		v->engine->interrupt_window(v, true);
}

/* Without the CPU's help: the local APIC's highest request becomes an injected event, or a window to wait for. */
static void deliver_lapic(struct vcpu *v)
{
	int vector = lapic_pending(&v->lapic);

	/* Set at each look: VM entry refuses a threshold that is above the TPR. */
	v->engine->tpr_threshold(v, vector < 0 ? lapic_tpr_threshold(&v->lapic) : 0);
	if (v->engine->offer_interrupt && v->engine->offer_interrupt(v, vector))
		return;
	if (vector < 0)
		return;
	if (!v->engine->can_inject(v, EVENT_INTERRUPT)) {
		v->engine->interrupt_window(v, true);
		return;
	}
	lapic_acknowledge(&v->lapic, (uint8_t)vector);
	inject_interrupt(v, (uint8_t)vector);
	if (interrupt_requests(v))
		v->engine->interrupt_window(v, true);
}

/* With the CPU's help it finds the next vector itself, at the guest's EOI too. But an interrupt waits for an interrupt window where
 * the guest cannot take it now, and goes in by injection where another one waits behind it: no virtual interrupt is recognized while
 * interrupt-window exiting is on (SDM vol. 3, "Evaluation of Pending Virtual Interrupts"). The architecture needs neither; it is a
 * guard: Bochs 2.7 delivers a virtual interrupt that is recognized while the guest's IF is 0 when one of the host's comes in, and a
 * guest that holds a lock then waits for itself. Left open there: what the guest makes recognizable alone, by a self-IPI or its TPR. */
static void deliver_virtual(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	bool can_inject = v->engine->can_inject(v, EVENT_INTERRUPT);
	int vector = lapic_pending(l), next = lapic_highest_irr(l);

	if (can_inject && vector >= 0) {
		lapic_acknowledge(l, (uint8_t)vector);
		next = lapic_highest_irr(l);
		inject_interrupt(v, (uint8_t)vector);
		vector = next;
	}
	v->engine->virtual_interrupts(v, (uint8_t)MAX(next, 0), (uint8_t)MAX(lapic_highest_isr(l), 0));
	v->held_back = vector >= 0;
	if (v->held_back)
		v->engine->interrupt_window(v, true);
}

/* `arrived`: the local APIC's IRR or ISR changed in its page. */
static void deliver(struct vcpu *v, bool arrived)
{
	struct lapic *l = &v->lapic;

	deliver_nmi(v);
	if (v->hw_delivery && l->enabled) {
		if (arrived || v->held_back)
			deliver_virtual(v);
		if (l->eoi_exit_dirty) {
			l->eoi_exit_dirty = false;
			v->engine->eoi_exits(v, l->eoi_exit);
		}
	} else {
		deliver_lapic(v);
	}
	if (pic_requests(v))
		deliver_pic(v);
}

static bool can_wake(struct vcpu *v)
{
	return v->nmi_pending || (vcpu_read(v, VCPU_RFLAGS) & RFLAGS_IF && interrupt_requests(v));
}

bool vcpu_prepare(struct vcpu *v)
{
	uint32_t pending;
	unsigned rounds = 0;
	bool arrived = false;

	while ((pending = __atomic_exchange_n(&v->pending, 0, __ATOMIC_SEQ_CST))) {
		if (__builtin_expect(++rounds > ROUNDS_MAX, 0)) {
			/* Other vCPUs ask for more all the time; the core has interrupts to take, and other VMs' vCPUs to run (sched_run). */
			__atomic_or_fetch(&v->pending, pending, __ATOMIC_SEQ_CST);
			sched_wake(v->slot);
			return false;
		}
		if (pending & PENDING_RESET)
			vcpu_reset(v);
		else if (v->state == VCPU_PARKED && !(pending & PENDING_LEAVE))
			continue;
		if (pending & PENDING_LEAVE) {
			v->state = VCPU_PARKED;
			v->leaves = true;
			return false;
		}
		if (pending & PENDING_FLUSH)
			virtual_mmu_settle(v);
		if (pending & PENDING_TIMER) {
			timer_queue_run(&v->timers);
			sched_arm(v);
		}
		if (pending & PENDING_INPUT && v->index == 0)
			vm_console_input(v->vm);
		if (pending & PENDING_DISK && v->index == 0)
			vm_poll_disks(v->vm);
		if (pending & PENDING_INIT)
			take_init(v);
		if (pending & PENDING_SIPI)
			take_sipi(v);
		if (pending & PENDING_NMI)
			v->nmi_pending = true;
		if (v->state == VCPU_WAIT_FOR_SIPI)
			continue;
		arrived |= lapic_sync(&v->lapic);
		if (v->state == VCPU_HALTED && can_wake(v))
			v->state = VCPU_RUNNING;
		if (v->state == VCPU_RUNNING || arrived)
			deliver(v, arrived);
		arrived = false;
		if (pending & PENDING_YIELD && v->state == VCPU_RUNNING)
			return false;
	}
	return v->state == VCPU_RUNNING;
}

bool vcpu_may_enter(struct vcpu *v)
{
	do {
		__atomic_store_n(&v->in_guest, false, __ATOMIC_RELEASE);
		if (!vcpu_prepare(v) || v->by_emulation)
			return false;
		/* One who sets `pending` and then sees false here knows that we see it. */
		__atomic_store_n(&v->in_guest, true, __ATOMIC_SEQ_CST);
	} while (v->kickable && __atomic_load_n(&v->pending, __ATOMIC_SEQ_CST));
	return true;
}

void vcpu_run(struct vcpu *v)
{
	v->running = true;
	if (v->by_emulation) {
		if (vcpu_prepare(v) && v->by_emulation)
			real_mode_run(v);
	} else if (vcpu_may_enter(v)) {
		if (__builtin_expect(v->vm->boot_ticks && v->index == 0, 0)) {
			log_line("boot: %lu ticks from hand-over to the first instruction of vm %s", time_now() - v->vm->boot_ticks,
				 v->vm->config.name);
			v->vm->boot_ticks = 0;
		}
		v->engine->run(v);
		__atomic_store_n(&v->in_guest, false, __ATOMIC_RELEASE);
	}
	v->running = false;
}

static void dump_code(struct vcpu *v)
{
	struct emulator *e = &v->emulator;
	uint8_t code[CODE_BYTES_SHOWN];
	char text[3 * CODE_BYTES_SHOWN + 1];
	struct segment_state cs;
	uint64_t gpa;
	unsigned n = 0;

	v->engine->read_segment(v, SEG_CS, &cs);
	e->paging.cr0 = vcpu_read(v, VCPU_CR0);
	e->paging.cr3 = vcpu_read(v, VCPU_CR3);
	e->paging.cr4 = vcpu_read(v, VCPU_CR4);
	e->paging.efer = vcpu_read(v, VCPU_EFER);
	e->paging.cpl = 0;
	if (guest_walk(&v->vm->memory, &e->paging, cs.base + vcpu_read(v, VCPU_RIP), WALK_READ | WALK_IMPLICIT, &gpa, NULL, NULL) ||
	    guest_read(&v->vm->memory, gpa, code, sizeof(code))) {
		log_line("  code at RIP: not readable");
		return;
	}
	for (unsigned i = 0; i < sizeof(code); i++)
		n += (unsigned)snprintf(text + n, sizeof(text) - n, "%02x ", code[i]);
	log_line("  code at RIP: %s", text);
}

void vcpu_dump(struct vcpu *v)
{
	const uint64_t *r = v->gpr;

	log_line("vm %s: vcpu %u: RIP %016lx RFLAGS %08lx CR0 %08lx CR3 %016lx CR4 %08lx EFER %04lx", v->vm->config.name, v->index,
		 vcpu_read(v, VCPU_RIP), vcpu_read(v, VCPU_RFLAGS), vcpu_read(v, VCPU_CR0), vcpu_read(v, VCPU_CR3), vcpu_read(v, VCPU_CR4),
		 vcpu_read(v, VCPU_EFER));
	log_line("  RAX %016lx RBX %016lx RCX %016lx RDX %016lx", r[GPR_RAX], r[GPR_RBX], r[GPR_RCX], r[GPR_RDX]);
	log_line("  RSI %016lx RDI %016lx RBP %016lx RSP %016lx", r[GPR_RSI], r[GPR_RDI], r[GPR_RBP], vcpu_read(v, VCPU_RSP));
	log_line("  R8  %016lx R9  %016lx R10 %016lx R11 %016lx", r[GPR_R8], r[GPR_R9], r[GPR_R10], r[GPR_R11]);
	log_line("  R12 %016lx R13 %016lx R14 %016lx R15 %016lx", r[GPR_R12], r[GPR_R13], r[GPR_R14], r[GPR_R15]);
	dump_code(v);
	v->engine->dump(v);
}
