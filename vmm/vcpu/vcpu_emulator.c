/* The glue between a vCPU and the emulator: the emulator's ways to devices and memory, the state that it starts from, and what becomes of its
 * result. */
#include "vmm/vcpu/vcpu_emulator.h"

#include "lib/log.h"
#include "lib/printf.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/exits/cpuid.h"
#include "vmm/exits/exit.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"
#include "vmm/memory/layout.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"

static uint64_t mmio_read(void *ctx, uint64_t gpa, unsigned size)
{
	struct vcpu *v = ctx;

	if (gpa - LAYOUT_LAPIC < LAYOUT_APIC_SIZE)
		return lapic_mmio_read(&v->lapic, (unsigned)(gpa - LAYOUT_LAPIC), size);
	exit_device_read(v);
	return io_space_read(v->mmio, gpa, size);
}

static void mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	struct vcpu *v = ctx;

	if (gpa - LAYOUT_LAPIC < LAYOUT_APIC_SIZE) {
		lapic_mmio_write(&v->lapic, (unsigned)(gpa - LAYOUT_LAPIC), size, value);
		vcpu_look_again(v, PENDING_EVALUATE);
		return;
	}
	io_space_write(v->mmio, gpa, size, value);
}

/* With shadow paging, writes to page tables are emulated too: that is RAM. */
static uint64_t shadow_read(void *ctx, uint64_t gpa, unsigned size)
{
	struct vcpu *v = ctx;
	uint64_t value = 0;

	return guest_read(v->memory, gpa, &value, size) ? mmio_read(ctx, gpa, size) : value;
}

static void shadow_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	struct vcpu *v = ctx;
	void *p = guest_ptr(v->memory, gpa, size);

	if (!p) {
		mmio_write(ctx, gpa, size, value);
		return;
	}
	/* In one piece: other vCPUs read what is mostly a page-table entry. */
	switch (size) {
	case 1:
		__atomic_store_n((uint8_t *)p, (uint8_t)value, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)p, (uint16_t)value, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)p, (uint32_t)value, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)p, value, __ATOMIC_RELAXED);
		break;
	}
	virtual_mmu_written(v, gpa, size);
}

static void ram_written(void *ctx, uint64_t gpa, unsigned size)
{
	virtual_mmu_written(ctx, gpa, size);
}

static bool ram_rewritten(void *ctx, uint64_t gpa)
{
	return shadow_rewritten(((struct vcpu *)ctx)->shadow_mmu, gpa);
}

static uint32_t port_read(void *ctx, uint16_t port, unsigned size)
{
	return (uint32_t)io_space_read(((struct vcpu *)ctx)->pio, port, size);
}

static void port_write(void *ctx, uint16_t port, unsigned size, uint32_t value)
{
	io_space_write(((struct vcpu *)ctx)->pio, port, size, value);
}

static void read_segment(void *ctx, enum segment_register which, struct segment_state *seg)
{
	struct vcpu *v = ctx;

	v->engine->read_segment(v, which, seg);
}

void vcpu_emulator_init(struct vcpu *v)
{
	struct emulator *e = &v->emulator;

	code_memory_init(&e->code);
	e->gpr = v->gpr;
	e->mem = v->memory;
	e->paging.maxphyaddr = v->cpuid->extended[8][CPUID_EAX] & 0xff;
	e->ctx = v;
	e->segment = read_segment;
	e->mmio_read = v->shadow_mmu ? shadow_read : mmio_read;
	e->mmio_write = v->shadow_mmu ? shadow_write : mmio_write;
	e->written = v->shadow_mmu ? ram_written : NULL;
	e->rewritten = ram_rewritten;
	e->port_read = port_read;
	e->port_write = port_write;
}

static enum decode_mode mode_of(const struct vcpu_context *c)
{
	if (vcpu_in_64bit_code(c))
		return DECODE_64;
	if (c->rflags & RFLAGS_VM || !(c->cr0 & CR0_PE))
		return DECODE_16;
	return c->cs_access & SEGMENT_DB ? DECODE_32 : DECODE_16;
}

void vcpu_emulator_load(struct vcpu *v)
{
	struct emulator *e = &v->emulator;
	struct vcpu_context *c = &v->context;

	v->engine->read_context(v, c);
	e->rip = c->rip;
	e->rflags = c->rflags;
	e->paging.cr0 = c->cr0;
	e->paging.cr3 = c->cr3;
	e->paging.cr4 = c->cr4;
	e->paging.efer = c->efer;
	e->paging.rflags_ac = c->rflags & RFLAGS_AC;
	e->segments = 0;
	v->gpr[GPR_RSP] = c->rsp;
	/* SS's DPL is the CPL whenever the guest is in protected mode (SDM vol. 3, "Guest Register State"). */
	e->paging.cpl = c->cr0 & CR0_PE ? c->ss_access >> 5 & 3 : 0;
	e->mode = mode_of(c);
	if (__builtin_expect(!(c->efer & EFER_LMA) && c->cr4 & CR4_PAE && c->cr0 & CR0_PG, 0))
		(void)vcpu_read_pdptes(v, c->cr3, e->paging.pdpte);
}

__attribute__((noinline)) static void explain(struct vcpu *v, const struct emulate_result *r, uint64_t address)
{
	char text[3 * 16 + 1];
	unsigned n = 0;

	for (unsigned i = 0; i < r->byte_count && i < sizeof(r->bytes); i++)
		n += (unsigned)snprintf(text + n, sizeof(text) - n, "%02x ", r->bytes[i]);
	text[n] = 0;
	log_line("vm %s: vcpu %u: cannot emulate the instruction at %lx for an access to %lx: %s", v->vm_name, v->index,
		 v->emulator.rip, address, text);
}

void vcpu_emulator_inject(struct vcpu *v, const struct emulate_result *r)
{
	if (r->vector == VECTOR_PF)
		vcpu_write(v, VCPU_CR2, r->cr2);
	vcpu_inject_exception(v, r->vector, r->error_code);
}

enum verdict vcpu_emulator_conclude(struct vcpu *v, int result, uint64_t address)
{
	const struct emulate_result *r = &v->emulated;
	struct emulator *e = &v->emulator;

	if (result == EMULATE_UNSUPPORTED) {
		explain(v, r, address);
		vm_request(v->vm, VM_REQUEST_STOP, "an instruction that cannot be emulated");
		return VERDICT_STOP;
	}
	if (v->gpr[GPR_RSP] != v->context.rsp)
		vcpu_write(v, VCPU_RSP, v->gpr[GPR_RSP]);
	if (e->rflags != v->context.rflags)
		vcpu_write(v, VCPU_RFLAGS, e->rflags);
	if (result == EMULATE_EXCEPTION) {
		vcpu_emulator_inject(v, r);
		return VERDICT_INJECT;
	}
	if (result == EMULATE_RETRY)
		return VERDICT_RESUME;
	return VERDICT_ADVANCE;
}
