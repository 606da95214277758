/* A virtual CPU's life: built, reset, started by INIT and SIPI, run, dumped. */
#include "vmm/vcpu/vcpu.h"

#include "lib/log.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/exits/msr.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/real_mode.h"
#include "vmm/vcpu/vcpu_emulator.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm_services.h"
#include "vmm/vm/vm_vcpu.h"

/* So often a core's interrupts are let in while a guest with IF=0 polls a device, in case they do not exit by themselves (vmx_vcpu.c, SLICE_HZ). */
#define TURN_HZ 20
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

int vcpu_create(struct vcpu *v, struct vm *vm, unsigned index)
{
	void *page = vm_alloc_pages(vm, 1);
	int err;

	if (!page)
		return ERR_NOMEM;
	v->index = index;
	vm_attach_vcpu(vm, v);
	v->state = VCPU_PARKED; /* until the VM starts */
	v->turn_ticks = (uint32_t)MIN(time_hz() / TURN_HZ, (uint64_t)UINT32_MAX);
	v->hw_delivery = vm->engine->hw_delivery(&vm->engine_vm);
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

void vcpu_plan(struct arena_plan *plan, const struct engine *engine, bool shadow)
{
	arena_plan_pages(plan, 1);
	if (shadow) {
		virtual_mmu_plan_vcpu(plan);
		real_mode_plan(plan, engine);
	}
	engine->plan_vcpu(plan);
}

static void load_start_state(struct vcpu *v, const struct guest_start *start)
{
	bool long_mode = start->mode == GUEST_START_LONG;
	struct segment_state code = { start->cs, 0xffffffff, long_mode ? SEGMENT_CODE_64 : SEGMENT_CODE_32, 0 };
	const struct segment_state data = { start->ds, 0xffffffff, SEGMENT_DATA_32, 0 };

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
		code.access &= ~(uint32_t)SEGMENT_P;
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
	v->gpr[GPR_RDX] = v->cpuid->basic[1][CPUID_EAX];
	v->nmis_pending = 0;
	v->by_emulation = false;
	if (!init) {
		v->xcr0 = 1;
		v->misc_enable = MISC_ENABLE_DEFAULT;
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

void vcpu_take_init(struct vcpu *v)
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

void vcpu_take_sipi(struct vcpu *v)
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
	return guest_read(v->memory, cr3 & 0xffffffe0, pdpte, 4 * sizeof(pdpte[0]));
}

void vcpu_run(struct vcpu *v)
{
	v->has_core = true;
	if (v->by_emulation) {
		if (vcpu_prepare(v) && v->by_emulation)
			real_mode_run(v);
	} else if (vcpu_may_enter(v)) {
		if (__builtin_expect(v->vm->boot_ticks && v->index == 0, 0)) {
			log_line("boot: %lu ticks from hand-over to the first instruction of vm %s", time_now() - v->vm->boot_ticks,
				 v->vm_name);
			v->vm->boot_ticks = 0;
		}
		v->engine->run(v);
		vcpu_left_guest(v);
	}
	v->has_core = false;
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
	if (guest_walk(v->memory, &e->paging, cs.base + vcpu_read(v, VCPU_RIP), WALK_READ | WALK_IMPLICIT, &gpa, NULL, NULL) ||
	    guest_read(v->memory, gpa, code, sizeof(code))) {
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

	log_line("vm %s: vcpu %u: RIP %016lx RFLAGS %08lx CR0 %08lx CR3 %016lx CR4 %08lx EFER %04lx", v->vm_name, v->index,
		 vcpu_read(v, VCPU_RIP), vcpu_read(v, VCPU_RFLAGS), vcpu_read(v, VCPU_CR0), vcpu_read(v, VCPU_CR3), vcpu_read(v, VCPU_CR4),
		 vcpu_read(v, VCPU_EFER));
	log_line("  RAX %016lx RBX %016lx RCX %016lx RDX %016lx", r[GPR_RAX], r[GPR_RBX], r[GPR_RCX], r[GPR_RDX]);
	log_line("  RSI %016lx RDI %016lx RBP %016lx RSP %016lx", r[GPR_RSI], r[GPR_RDI], r[GPR_RBP], vcpu_read(v, VCPU_RSP));
	log_line("  R8  %016lx R9  %016lx R10 %016lx R11 %016lx", r[GPR_R8], r[GPR_R9], r[GPR_R10], r[GPR_R11]);
	log_line("  R12 %016lx R13 %016lx R14 %016lx R15 %016lx", r[GPR_R12], r[GPR_R13], r[GPR_R14], r[GPR_R15]);
	dump_code(v);
	v->engine->dump(v);
}
