/* Control and debug registers, MSRs, CPUID, HLT (SDM vol. 3, "Control Registers"; vol. 2 at each instruction). */
#include "lib/x86/msr.h"
#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/step_parts.h"
#include "vmm/memory/paging_rules.h"

/* The bits of CR0 that exist; MOV to CR0 ignores the others. */
#define CR0_BITS (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR3_KEEP_TLB BIT(63) /* with PCIDs */

/* The verdict on a callback's result: go on, or raise the vector that it returned. */
static int accepted(struct execution *x, int vector)
{
	if (!vector)
		return EMULATE_CONTINUE;
	return raise_exception(x->r, (uint8_t)vector, vector == VECTOR_UD ? -1 : 0);
}

/* PAE paging's four entries, as `p` would have them. Returns EMULATE_CONTINUE or a verdict. */
static int load_pdptes(struct execution *x, struct guest_paging *p)
{
	uint64_t reserved = paging_pdpte_reserved(p->maxphyaddr), entry[4];

	if (!(p->cr0 & CR0_PG) || !(p->cr4 & CR4_PAE) || (p->efer & EFER_LMA))
		return EMULATE_CONTINUE;
	if (guest_read(x->e->mem, p->cr3 & 0xffffffe0, entry, sizeof(entry)))
		return EMULATE_UNSUPPORTED; /* outside RAM */
	for (unsigned i = 0; i < 4; i++)
		if ((entry[i] & 1) && (entry[i] & reserved))
			return general_protection(x, 0);
	memcpy(p->pdpte, entry, sizeof(entry));
	return EMULATE_CONTINUE;
}

/* Take over control registers that the emulator's own rules allow, if the callback allows them too. */
static int commit(struct execution *x, unsigned cr, uint64_t value, struct guest_paging *p, bool pdptes)
{
	struct emulator *e = x->e;
	int verdict = pdptes ? load_pdptes(x, p) : EMULATE_CONTINUE;

	if (verdict == EMULATE_CONTINUE)
		verdict = accepted(x, e->step->write_cr(e->ctx, cr, value));
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	e->paging = *p;
	e->step->changed |= STEP_CHANGED_CONTROL;
	return done(x);
}

static int write_cr0(struct execution *x, uint64_t value)
{
	struct emulator *e = x->e;
	struct guest_paging p = e->paging;
	uint64_t toggled;

	if (value >> 32)
		return general_protection(x, 0);
	value = (value & CR0_BITS) | CR0_ET;
	toggled = value ^ p.cr0;
	if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
		return general_protection(x, 0);
	if (toggled & value & CR0_PG && p.efer & EFER_LME) {
		const struct segment_state *tr = segment_of(e, SEG_TR);

		/* Long mode starts in compatibility mode, with PAE and with no 16-bit TSS. */
		if (!(p.cr4 & CR4_PAE) || (segment_of(e, SEG_CS)->access & SEGMENT_L) ||
		    (!(tr->access & SEGMENT_UNUSABLE) && (tr->access & 15) == TYPE_TSS16_BUSY))
			return general_protection(x, 0);
		p.efer |= EFER_LMA;
	}
	if (toggled & ~value & CR0_PG) {
		if (e->mode == DECODE_64 || (p.cr4 & CR4_PCIDE))
			return general_protection(x, 0);
		p.efer &= ~EFER_LMA;
	}
	p.cr0 = value;
	return commit(x, 0, value, &p, toggled & (CR0_CD | CR0_NW | CR0_PG));
}

static int write_cr3(struct execution *x, uint64_t value)
{
	struct guest_paging p = x->e->paging;

	p.cr3 = p.cr4 & CR4_PCIDE ? value & ~CR3_KEEP_TLB : value;
	return commit(x, 3, value, &p, true);
}

static int write_cr4(struct execution *x, uint64_t value)
{
	struct guest_paging p = x->e->paging;
	uint64_t toggled = value ^ p.cr4;

	if (long_mode(x->e) && ((toggled & CR4_LA57) || !(value & CR4_PAE)))
		return general_protection(x, 0);
	if ((toggled & value & CR4_PCIDE) && (!long_mode(x->e) || (p.cr3 & 0xfff)))
		return general_protection(x, 0);
	p.cr4 = value;
	return commit(x, 4, value, &p, toggled & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP));
}

int step_lmsw(struct execution *x, uint16_t value)
{
	/* It sets PE but cannot clear it. */
	return write_cr0(x, (x->e->paging.cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (value & 15));
}

static int write_control(struct execution *x, unsigned cr, uint64_t value)
{
	struct emulator *e = x->e;
	int verdict;

	switch (cr) {
	case 0:
		return write_cr0(x, value);
	case 2:
		e->step->cr2 = value;
		e->step->changed |= STEP_CHANGED_CR2;
		return done(x);
	case 3:
		return write_cr3(x, value);
	case 4:
		return write_cr4(x, value);
	default:
		verdict = accepted(x, e->step->write_cr(e->ctx, cr, value));
		return verdict == EMULATE_CONTINUE ? done(x) : verdict;
	}
}

static uint64_t read_control(struct emulator *e, unsigned cr)
{
	switch (cr) {
	case 0:
		return e->paging.cr0;
	case 2:
		return e->step->cr2;
	case 3:
		return e->paging.cr3;
	case 4:
		return e->paging.cr4;
	default:
		return e->step->read_cr8(e->ctx);
	}
}

/* Debug registers 4 and 5 are other names of 6 and 7 as long as CR4.DE allows it. */
static int move_debug(struct execution *x, bool write, uint64_t *reg, unsigned size)
{
	struct emulator *e = x->e;
	unsigned dr = x->insn->reg;
	int verdict;

	if (dr > 7 || ((dr & 6) == 4 && (e->paging.cr4 & CR4_DE)))
		return undefined_opcode(x);
	dr |= (dr & 6) == 4 ? 2 : 0;
	if (!write) {
		write_gpr(reg, size, e->step->read_dr(e->ctx, dr));
		return done(x);
	}
	if (dr >= 6 && size == 8 && *reg >> 32)
		return general_protection(x, 0);
	verdict = accepted(x, e->step->write_dr(e->ctx, dr, *reg & size_mask(size)));
	return verdict == EMULATE_CONTINUE ? done(x) : verdict;
}

int step_mov_control(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned cr = x->insn->reg, size = e->mode == DECODE_64 ? 8 : 4;
	uint64_t *reg = &e->gpr[x->insn->rm];
	bool write = x->insn->opcode & 2;
	int verdict = need_cpl0(x);

	if (x->insn->opcode & 1)
		return verdict == EMULATE_CONTINUE ? move_debug(x, write, reg, size) : verdict;
	if (cr > 8 || !(0x11d >> cr & 1))
		return undefined_opcode(x);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (write)
		return write_control(x, cr, *reg & size_mask(size));
	write_gpr(reg, size, read_control(e, cr));
	return done(x);
}

static void set_pair(struct emulator *e, uint64_t value)
{
	e->gpr[REG_RAX] = (uint32_t)value;
	e->gpr[REG_RDX] = value >> 32;
}

static int read_msr(struct execution *x)
{
	struct emulator *e = x->e;
	uint32_t msr = (uint32_t)e->gpr[REG_RCX];
	uint64_t value = 0;
	int verdict;

	switch (msr) {
	case MSR_EFER:
		value = e->paging.efer;
		break;
	case MSR_FS_BASE:
	case MSR_GS_BASE:
		value = segment_of(e, msr == MSR_FS_BASE ? SEG_FS : SEG_GS)->base;
		break;
	default:
		verdict = accepted(x, e->step->read_msr(e->ctx, msr, &value));
		if (verdict != EMULATE_CONTINUE)
			return verdict;
		break;
	}
	set_pair(e, value);
	return done(x);
}

static int write_msr(struct execution *x)
{
	struct emulator *e = x->e;
	uint32_t msr = (uint32_t)e->gpr[REG_RCX];
	uint64_t value = e->gpr[REG_RDX] << 32 | (uint32_t)e->gpr[REG_RAX];
	int verdict;

	if (msr == MSR_EFER) {
		value = (value & ~EFER_LMA) | (e->paging.efer & EFER_LMA);
		if (((value ^ e->paging.efer) & EFER_LME) && (e->paging.cr0 & CR0_PG))
			return general_protection(x, 0);
	}
	verdict = accepted(x, e->step->write_msr(e->ctx, msr, value));
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (msr == MSR_EFER) {
		e->paging.efer = value;
		e->step->changed |= STEP_CHANGED_CONTROL;
	} else if (msr == MSR_FS_BASE || msr == MSR_GS_BASE) {
		enum segment_register which = msr == MSR_FS_BASE ? SEG_FS : SEG_GS;

		segment_of(e, which)->base = value;
		e->step->changed |= 1U << which;
	}
	return done(x);
}

/* RDTSC and RDTSCP */
static int read_time(struct execution *x, bool aux)
{
	struct emulator *e = x->e;
	uint64_t tsc, id = 0;
	int verdict;

	if ((e->paging.cr4 & CR4_TSD) && cpl(e))
		return general_protection(x, 0);
	verdict = accepted(x, e->step->read_msr(e->ctx, MSR_TSC, &tsc));
	if (verdict == EMULATE_CONTINUE && aux && e->step->read_msr(e->ctx, MSR_TSC_AUX, &id))
		verdict = undefined_opcode(x);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	set_pair(e, tsc);
	if (aux)
		e->gpr[REG_RCX] = (uint32_t)id;
	return done(x);
}

static int identify(struct execution *x)
{
	struct emulator *e = x->e;
	uint32_t out[4];

	e->step->cpuid(e->ctx, (uint32_t)e->gpr[REG_RAX], (uint32_t)e->gpr[REG_RCX], out);
	e->gpr[REG_RAX] = out[0];
	e->gpr[REG_RBX] = out[1];
	e->gpr[REG_RCX] = out[2];
	e->gpr[REG_RDX] = out[3];
	return done(x);
}

int step_system(struct execution *x)
{
	struct emulator *e = x->e;
	unsigned op = x->insn->opcode;
	int verdict;

	if (x->insn->map == MAP_0F) {
		switch (op) {
		case 0x01:
			return read_time(x, true);
		case 0x31:
			return read_time(x, false);
		case 0xa2:
			return identify(x);
		default:
			break;
		}
	}
	verdict = need_cpl0(x);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	switch (op) {
	case 0x06:
		return write_cr0(x, e->paging.cr0 & ~CR0_TS);
	case 0x08:
	case 0x09:
		e->step->write_back_caches(e->ctx);
		return done(x);
	case 0x30:
		return write_msr(x);
	case 0x32:
		return read_msr(x);
	case 0xf4:
		x->r->halted = true;
		return done(x);
	default:
		return EMULATE_UNSUPPORTED;
	}
}
