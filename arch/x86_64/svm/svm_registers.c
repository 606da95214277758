/* A vCPU's registers and segments in the VMCB. FS, GS, LDTR, TR and the system-call MSRs are there too while the guest is out. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/svm.h"
#include "vmm/vm.h"

#define ATTRIBUTE_PRESENT BIT(7)
#define ACCESS_DPL_SHIFT 5
#define ACCESS_DPL 0x60U
#define TYPE_BUSY 2U
#define TYPE_TSS_32 9 /* or 64; not every CPU keeps the busy bit in the hidden part of TR */

/* The VMCB's attributes are access rights without the gap of bits 11:8 (APM vol. 2, "VMCB State Save Area": segment attributes). */
static uint32_t access_of(uint16_t attributes)
{
	uint32_t access = (attributes & 0xff) | (attributes & 0xf00U) << 4;

	return attributes & ATTRIBUTE_PRESENT ? access : access | ACCESS_UNUSABLE;
}

static uint16_t attributes_of(uint32_t access)
{
	return access & ACCESS_UNUSABLE ? 0 : (uint16_t)((access & 0xff) | (access >> 4 & 0xf00));
}

static struct vmcb_segment *segment_of(struct vmcb *vmcb, enum vcpu_segment seg)
{
	static const uint16_t offsets[VSEG_COUNT] = {
#define OFFSET(seg, field) [seg] = __builtin_offsetof(struct vmcb, field)
		OFFSET(VSEG_ES, es), OFFSET(VSEG_CS, cs), OFFSET(VSEG_SS, ss), OFFSET(VSEG_DS, ds), OFFSET(VSEG_FS, fs),
		OFFSET(VSEG_GS, gs), OFFSET(VSEG_LDTR, ldtr), OFFSET(VSEG_TR, tr),
#undef OFFSET
	};

	return (struct vmcb_segment *)((uint8_t *)vmcb + offsets[seg]);
}

void svm_read_segment(struct vcpu *v, enum vcpu_segment seg, struct vcpu_segment_state *state)
{
	const struct vmcb_segment *s = segment_of(vmcb_of(v), seg);

	state->selector = s->selector;
	state->limit = s->limit;
	state->access = access_of(s->attributes);
	state->base = s->base;
	/* The CPL has a field of its own: SYSRET and nulled selectors leave another DPL in SS. */
	if (seg == VSEG_SS)
		state->access = (state->access & ~ACCESS_DPL) | (uint32_t)vmcb_of(v)->cpl << ACCESS_DPL_SHIFT;
}

void svm_write_segment(struct vcpu *v, enum vcpu_segment seg, const struct vcpu_segment_state *state)
{
	struct vmcb_segment *s = segment_of(vmcb_of(v), seg);

	s->selector = state->selector;
	s->limit = state->limit;
	s->attributes = attributes_of(state->access);
	s->base = state->base;
	if (seg == VSEG_SS)
		vmcb_of(v)->cpl = state->access >> ACCESS_DPL_SHIFT & 3;
	svm_changed(vmcb_of(v), CLEAN_SEGMENTS);
}

static uint64_t guest_cr0(struct vcpu *v)
{
	return vmcb_of(v)->cr0 | svm_of(v)->cr0_cache;
}

uint64_t svm_read(struct vcpu *v, enum vcpu_register reg)
{
	const struct vmcb *b = vmcb_of(v);

	switch (reg) {
	case VCPU_RIP:
		return b->rip;
	case VCPU_RSP:
		return b->rsp;
	case VCPU_RFLAGS:
		return b->rflags;
	case VCPU_CR0:
		return guest_cr0(v);
	case VCPU_CR2:
		return b->cr2;
	case VCPU_CR3:
		return b->cr3;
	case VCPU_CR4:
		return b->cr4;
	case VCPU_EFER:
		return b->efer & ~EFER_SVME;
	case VCPU_GDT_BASE:
		return b->gdtr.base;
	case VCPU_GDT_LIMIT:
		return b->gdtr.limit;
	case VCPU_IDT_BASE:
		return b->idtr.base;
	case VCPU_IDT_LIMIT:
		return b->idtr.limit;
	case VCPU_DR0 ... VCPU_DR6:
	case VCPU_INTERRUPTIBILITY:
		break;
	case VCPU_DR7:
		return b->dr7;
	case VCPU_PAT:
		return b->g_pat;
	case VCPU_FS_BASE:
		return b->fs.base;
	case VCPU_GS_BASE:
		return b->gs.base;
	case VCPU_SYSENTER_CS:
		return b->sysenter_cs;
	case VCPU_SYSENTER_ESP:
		return b->sysenter_esp;
	case VCPU_SYSENTER_EIP:
		return b->sysenter_eip;
	case VCPU_XCR0:
		/* Not what the XSETBV exits wrote: QEMU 7.2 ignores their intercept. */
		return cpu_features.xsave ? xgetbv(0) : v->xcr0;
	case VCPU_REGISTERS:
		break;
	}
	return 0;
}

void svm_read_context(struct vcpu *v, struct vcpu_context *c)
{
	const struct vmcb *b = vmcb_of(v);

	c->rip = b->rip;
	c->rsp = b->rsp;
	c->rflags = b->rflags;
	c->cr0 = guest_cr0(v);
	c->cr3 = b->cr3;
	c->cr4 = b->cr4;
	c->efer = b->efer & ~EFER_SVME;
	c->cs_access = access_of(b->cs.attributes);
	c->ss_access = (access_of(b->ss.attributes) & ~ACCESS_DPL) | (uint32_t)b->cpl << ACCESS_DPL_SHIFT;
}

/* Caching stays on, as it does for the host; the guest sees its own CD and NW. While they are set every access to CR0 exits: a write that
 * clears them would change no bit of the real register. */
static void write_cr0_state(struct vcpu *v, uint64_t value)
{
	struct vmcb *b = vmcb_of(v);
	const uint32_t accesses = INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0);

	svm_of(v)->cr0_cache = value & (CR0_CD | CR0_NW);
	b->cr0 = (value & ~(CR0_CD | CR0_NW)) | CR0_ET;
	b->intercept_cr = svm_of(v)->cr0_cache ? b->intercept_cr | accesses : b->intercept_cr & ~accesses;
	svm_changed(b, CLEAN_CR | CLEAN_CONTROLS);
}

static void write_efer_state(struct vmcb *b, uint64_t value)
{
	b->efer = value | EFER_SVME; /* VMRUN wants it set */
	svm_changed(b, CLEAN_CR);
}

void svm_write(struct vcpu *v, enum vcpu_register reg, uint64_t value)
{
	struct vmcb *b = vmcb_of(v);

	switch (reg) {
	case VCPU_RIP:
		b->rip = value;
		return;
	case VCPU_RSP:
		b->rsp = value;
		return;
	case VCPU_RFLAGS:
		b->rflags = value | RFLAGS_FIXED;
		return;
	case VCPU_CR0:
		write_cr0_state(v, value);
		return;
	case VCPU_CR2:
		b->cr2 = value;
		break;
	case VCPU_CR3:
		b->cr3 = value;
		break;
	case VCPU_CR4:
		b->cr4 = value;
		break;
	case VCPU_EFER:
		write_efer_state(b, value);
		return;
	case VCPU_GDT_BASE:
		b->gdtr.base = value;
		break;
	case VCPU_GDT_LIMIT:
		b->gdtr.limit = (uint32_t)value;
		break;
	case VCPU_IDT_BASE:
		b->idtr.base = value;
		break;
	case VCPU_IDT_LIMIT:
		b->idtr.limit = (uint32_t)value;
		break;
	case VCPU_DR0 ... VCPU_DR6:
	case VCPU_INTERRUPTIBILITY:
		break;
	case VCPU_DR7:
		b->dr7 = value;
		break;
	case VCPU_PAT:
		b->g_pat = value;
		break;
	case VCPU_FS_BASE:
		b->fs.base = value;
		break;
	case VCPU_GS_BASE:
		b->gs.base = value;
		break;
	case VCPU_SYSENTER_CS:
		b->sysenter_cs = value;
		break;
	case VCPU_SYSENTER_ESP:
		b->sysenter_esp = value;
		break;
	case VCPU_SYSENTER_EIP:
		b->sysenter_eip = value;
		break;
	case VCPU_XCR0:
	case VCPU_REGISTERS:
		break;
	}
	svm_changed(b, CLEAN_CR | CLEAN_CR2 | CLEAN_TABLES | CLEAN_DR | CLEAN_NESTED);
}

/* APM vol. 2, "CR0 Register", "Enabling and Activating Long Mode": what raises #GP. Nested paging walks the PDPTEs of PAE paging in memory,
 * so none are loaded here. */
int svm_set_cr0(struct vcpu *v, uint64_t value)
{
	const uint64_t defined = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
	struct vmcb *b = vmcb_of(v);
	uint64_t old = b->cr0, efer = b->efer;
	bool code_64 = access_of(b->cs.attributes) & ACCESS_L;

	if (value >> 32)
		return ERR_INVALID;
	value &= defined;
	if ((value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
		return ERR_INVALID;
	if (value & CR0_PG && !(old & CR0_PG) && efer & EFER_LME) {
		/* Long mode cannot begin in a 64-bit code segment or with a 16-bit TSS. */
		if (!(b->cr4 & CR4_PAE) || code_64 || (b->tr.attributes & 15 & ~TYPE_BUSY) != TYPE_TSS_32)
			return ERR_INVALID;
		write_efer_state(b, efer | EFER_LMA);
	}
	if (!(value & CR0_PG) && old & CR0_PG) {
		if (b->cr4 & CR4_PCIDE || (efer & EFER_LMA && code_64))
			return ERR_INVALID;
		write_efer_state(b, efer & ~EFER_LMA);
	}
	write_cr0_state(v, value);
	if ((value ^ old) & (CR0_PG | CR0_PE | CR0_WP))
		svm_flush(v);
	return 0;
}

int svm_set_cr4(struct vcpu *v, uint64_t value)
{
	struct vmcb *b = vmcb_of(v);
	uint64_t old = b->cr4;

	if (value & ~svm_of(v)->cr4_offered)
		return ERR_INVALID;
	if (b->efer & EFER_LMA && !(value & CR4_PAE))
		return ERR_INVALID;
	if (value & CR4_PCIDE && !(old & CR4_PCIDE) && (!(b->efer & EFER_LMA) || b->cr3 & 0xfff))
		return ERR_INVALID;
	b->cr4 = value;
	svm_changed(b, CLEAN_CR);
	if ((value ^ old) & (CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE | BIT(4) /* PSE */))
		svm_flush(v);
	return 0;
}

int svm_set_efer(struct vcpu *v, uint64_t value)
{
	struct vmcb *b = vmcb_of(v);
	uint64_t old = b->efer & ~EFER_SVME;

	if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
		return ERR_INVALID;
	if ((value ^ old) & EFER_LME && b->cr0 & CR0_PG)
		return ERR_INVALID;
	value = (value & ~EFER_LMA) | (old & EFER_LMA);
	write_efer_state(b, value);
	if ((value ^ old) & EFER_NXE)
		svm_flush(v);
	return 0;
}
