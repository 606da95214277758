/* A vCPU's registers and segments in the VMCB. FS, GS, LDTR, TR and the system-call MSRs are there too while the guest is out. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "vmm/shadow/shadow.h"

/* The VMCB's attributes are access rights without the gap of bits 11:8 (APM vol. 2, "VMCB State Save Area": segment attributes). */
static uint32_t access_of(uint16_t attributes)
{
	uint32_t access = (attributes & 0xff) | (attributes & 0xf00U) << 4;

	return attributes & SEGMENT_P ? access : access | SEGMENT_UNUSABLE;
}

static uint16_t attributes_of(uint32_t access)
{
	return access & SEGMENT_UNUSABLE ? 0 : (uint16_t)((access & 0xff) | (access >> 4 & 0xf00));
}

static struct vmcb_segment *segment_of(struct vmcb *vmcb, enum segment_register seg)
{
	static const uint16_t offsets[SEG_COUNT] = {
#define OFFSET(seg, field) [seg] = __builtin_offsetof(struct vmcb, field)
		OFFSET(SEG_ES, es), OFFSET(SEG_CS, cs), OFFSET(SEG_SS, ss), OFFSET(SEG_DS, ds), OFFSET(SEG_FS, fs),
		OFFSET(SEG_GS, gs), OFFSET(SEG_LDTR, ldtr), OFFSET(SEG_TR, tr),
#undef OFFSET
	};

	return (struct vmcb_segment *)((uint8_t *)vmcb + offsets[seg]);
}

void svm_read_segment(struct vcpu *v, enum segment_register seg, struct segment_state *state)
{
	const struct vmcb_segment *s = segment_of(vmcb_of(v), seg);

	state->selector = s->selector;
	state->limit = s->limit;
	state->access = access_of(s->attributes);
	state->base = s->base;
	/* The CPL has a field of its own: SYSRET and nulled selectors leave another DPL in SS. */
	if (seg == SEG_SS)
		state->access = (state->access & ~SEGMENT_DPL) | (uint32_t)vmcb_of(v)->cpl << SEGMENT_DPL_SHIFT;
}

void svm_write_segment(struct vcpu *v, enum segment_register seg, const struct segment_state *state)
{
	struct vmcb_segment *s = segment_of(vmcb_of(v), seg);

	s->selector = state->selector;
	s->limit = state->limit;
	s->attributes = attributes_of(state->access);
	s->base = state->base;
	if (seg == SEG_SS)
		vmcb_of(v)->cpl = state->access >> SEGMENT_DPL_SHIFT & 3;
	svm_changed(vmcb_of(v), CLEAN_SEGMENTS);
}

/* With shadow paging the VMCB holds what the hardware runs with; the guest's own values are kept beside it. */
static inline bool shadowed(const struct vcpu *v)
{
	return __builtin_expect(v->shadow != NULL, 0);
}

static uint64_t guest_cr0(struct vcpu *v)
{
	const uint64_t free = CR0_TS | CR0_MP; /* a write that changes nothing else does not exit */
	const struct svm_vcpu *x = svm_of(v);

	return shadowed(v) ? (x->cr0 & ~free) | (x->vmcb.cr0 & free) : x->vmcb.cr0 | x->cr0_cache;
}

static inline uint64_t guest_cr3(struct vcpu *v)
{
	return shadowed(v) ? v->cr3 : vmcb_of(v)->cr3;
}

static inline uint64_t guest_cr4(struct vcpu *v)
{
	return shadowed(v) ? svm_of(v)->cr4 : vmcb_of(v)->cr4;
}

static inline uint64_t guest_efer(struct vcpu *v)
{
	return shadowed(v) ? svm_of(v)->efer : vmcb_of(v)->efer & ~EFER_SVME;
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
		return guest_cr3(v);
	case VCPU_CR4:
		return guest_cr4(v);
	case VCPU_EFER:
		return guest_efer(v);
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
	c->ss_access = (access_of(b->ss.attributes) & ~SEGMENT_DPL) | (uint32_t)b->cpl << SEGMENT_DPL_SHIFT;
	if (shadowed(v)) {
		c->cr3 = v->cr3;
		c->cr4 = svm_of(v)->cr4;
		c->efer = svm_of(v)->efer;
	}
}

/* With shadow paging: paging is always on, in real mode too ("Paged Real Mode", APM vol. 2), in PAE's format or with four levels, and WP
 * makes the guest's kernel, too, heed the read-only entries by which page tables are traced. Guests without paging know neither SMEP nor
 * SMAP. Where the guest's value differs from the real one, each access exits; else the hardware answers reads, and a change of bits that
 * bear on paging exits. */
static void write_shadowed_cr(struct vcpu *v)
{
	const struct svm_vcpu *x = svm_of(v);
	struct vmcb *b = vmcb_of(v);
	uint64_t cr0 = guest_cr0(v), hidden = CR4_PCIDE | CR4_LA57 | CR4_PKE | (cr0 & CR0_PG ? 0 : CR4_SMEP | CR4_SMAP);

	b->cr0 = (cr0 & ~(CR0_CD | CR0_NW)) | CR0_ET | CR0_PG | CR0_WP;
	b->cr4 = (x->cr4 & ~hidden) | CR4_PAE;
	b->intercept_cr &= ~(uint32_t)(INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0) | INTERCEPT_CR_READ(4));
	b->intercept_cr |= INTERCEPT_CR_READ(3) | INTERCEPT_CR_WRITE(3) | INTERCEPT_CR_WRITE(4);
	if (b->cr0 != cr0)
		b->intercept_cr |= INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0);
	if (b->cr4 != x->cr4)
		b->intercept_cr |= INTERCEPT_CR_READ(4);
	svm_changed(b, CLEAN_CR | CLEAN_CONTROLS);
}

void svm_shadow_root(struct vcpu *v, uint64_t root)
{
	if (vmcb_of(v)->cr3 == root)
		return;
	vmcb_of(v)->cr3 = root;
	svm_changed(vmcb_of(v), CLEAN_CR);
}

/* Caching stays on, as it does for the host; the guest sees its own CD and NW. While they are set every access to CR0 exits: a write that
 * clears them would change no bit of the real register. */
static void write_cr0_state(struct vcpu *v, uint64_t value)
{
	struct vmcb *b = vmcb_of(v);
	const uint32_t accesses = INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0);

	if (shadowed(v)) {
		svm_of(v)->cr0 = value | CR0_ET;
		b->cr0 = value; /* TS and MP */
		write_shadowed_cr(v);
		return;
	}
	svm_of(v)->cr0_cache = value & (CR0_CD | CR0_NW);
	b->cr0 = (value & ~(CR0_CD | CR0_NW)) | CR0_ET;
	b->intercept_cr = svm_of(v)->cr0_cache ? b->intercept_cr | accesses : b->intercept_cr & ~accesses;
	svm_changed(b, CLEAN_CR | CLEAN_CONTROLS);
}

static void write_cr4_state(struct vcpu *v, uint64_t value)
{
	vmcb_of(v)->cr4 = value;
	svm_changed(vmcb_of(v), CLEAN_CR);
	if (shadowed(v)) {
		svm_of(v)->cr4 = value;
		write_shadowed_cr(v);
	}
}

static void write_efer_state(struct vcpu *v, uint64_t value)
{
	struct vmcb *b = vmcb_of(v);

	svm_of(v)->efer = value;
	/* The four PDPTEs of legacy mode change in memory, and only with CR3 does the CPU load them. */
	svm_of(v)->clean = svm_features.clean & ~(shadowed(v) && !(value & EFER_LMA) ? (uint32_t)CLEAN_CR : 0);
	/* With shadow paging CR0.PG is always on, so that LME must be what LMA is; and the tables use NX. */
	if (shadowed(v))
		value = (value & ~(EFER_LME | EFER_LMA)) | (value & EFER_LMA ? EFER_LME | EFER_LMA : 0) | EFER_NXE;
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
		write_cr2(value); /* VMRUN loads the VMCB's (APM vol. 2, "VMRUN Instruction"); Bochs 2.7 leaves the register alone */
		svm_changed(b, CLEAN_CR2);
		return;
	case VCPU_CR3:
		if (shadowed(v)) {
			v->cr3 = value; /* the hardware's is the shadow root */
			return;
		}
		b->cr3 = value;
		break;
	case VCPU_CR4:
		write_cr4_state(v, value);
		return;
	case VCPU_EFER:
		write_efer_state(v, value);
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

/* PAE paging loads four entries when it begins. Nested paging walks them in memory. Returns ERR_INVALID (#GP) for reserved bits. */
static int check_pdptes(struct vcpu *v, uint64_t cr0, uint64_t cr4)
{
	uint64_t pdpte[4];

	if (!shadowed(v) || !(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || guest_efer(v) & (EFER_LME | EFER_LMA))
		return 0;
	return shadow_read_pdptes(v->shadow_mmu, guest_cr3(v), v->emulator.paging.maxphyaddr, pdpte);
}

/* APM vol. 2, "CR0 Register", "Enabling and Activating Long Mode": what raises #GP. */
int svm_set_cr0(struct vcpu *v, uint64_t value)
{
	const uint64_t defined = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
	struct vmcb *b = vmcb_of(v);
	uint64_t old = guest_cr0(v), cr4 = guest_cr4(v), efer = guest_efer(v);
	bool code_64 = access_of(b->cs.attributes) & SEGMENT_L;

	if (value >> 32)
		return ERR_INVALID;
	value &= defined;
	if ((value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
		return ERR_INVALID;
	if (check_pdptes(v, value, cr4))
		return ERR_INVALID;
	if (value & CR0_PG && !(old & CR0_PG) && efer & EFER_LME) {
		/* Long mode cannot begin in a 64-bit code segment or with a 16-bit TSS. */
		/* Not every CPU keeps the busy bit in the hidden part of TR. */
		if (!(cr4 & CR4_PAE) || code_64 || (b->tr.attributes & SEGMENT_TYPE & ~SEGMENT_TYPE_BUSY) != TYPE_TSS32)
			return ERR_INVALID;
		write_efer_state(v, efer | EFER_LMA);
	}
	if (!(value & CR0_PG) && old & CR0_PG) {
		if (cr4 & CR4_PCIDE || (efer & EFER_LMA && code_64))
			return ERR_INVALID;
		write_efer_state(v, efer & ~EFER_LMA);
	}
	write_cr0_state(v, value);
	if ((value ^ old) & (CR0_PG | CR0_PE | CR0_WP))
		svm_flush(v);
	return 0;
}

int svm_set_cr4(struct vcpu *v, uint64_t value)
{
	uint64_t old = guest_cr4(v), efer = guest_efer(v);

	if (value & ~svm_of(v)->cr4_offered)
		return ERR_INVALID;
	if (efer & EFER_LMA && !(value & CR4_PAE))
		return ERR_INVALID;
	if (value & CR4_PCIDE && !(old & CR4_PCIDE) && (!(efer & EFER_LMA) || guest_cr3(v) & 0xfff))
		return ERR_INVALID;
	if (check_pdptes(v, guest_cr0(v), value))
		return ERR_INVALID;
	write_cr4_state(v, value);
	if ((value ^ old) & (CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE | CR4_PSE))
		svm_flush(v);
	return 0;
}

int svm_set_efer(struct vcpu *v, uint64_t value)
{
	uint64_t old = guest_efer(v);

	if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
		return ERR_INVALID;
	if ((value ^ old) & EFER_LME && guest_cr0(v) & CR0_PG)
		return ERR_INVALID;
	value = (value & ~EFER_LMA) | (old & EFER_LMA);
	write_efer_state(v, value);
	if ((value ^ old) & EFER_NXE)
		svm_flush(v);
	return 0;
}
