/* A vCPU's registers and segments in the VMCS. The vCPU is loaded on this core. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"

/* The VMCS keeps the eight segments two encodings apart, in the order of enum segment_register (ES, CS, SS, DS, FS, GS, LDTR, TR). */
static struct vmcs_field16 selector_field(enum segment_register s)
{
	return (struct vmcs_field16){ VMCS_GUEST_ES_SELECTOR.encoding + 2 * s };
}

static struct vmcs_field32 limit_field(enum segment_register s)
{
	return (struct vmcs_field32){ VMCS_GUEST_ES_LIMIT.encoding + 2 * s };
}

static struct vmcs_field32 access_field(enum segment_register s)
{
	return (struct vmcs_field32){ VMCS_GUEST_ES_ACCESS.encoding + 2 * s };
}

static struct vmcs_field_natural base_field(enum segment_register s)
{
	return (struct vmcs_field_natural){ VMCS_GUEST_ES_BASE.encoding + 2 * s };
}

void vmx_read_segment(struct vcpu *v, enum segment_register seg, struct segment_state *state)
{
	(void)v;
	state->selector = vmread16(selector_field(seg));
	state->limit = vmread32(limit_field(seg));
	state->access = vmread32(access_field(seg));
	state->base = vmread(base_field(seg));
}

void vmx_write_segment(struct vcpu *v, enum segment_register seg, const struct segment_state *state)
{
	(void)v;
	vmwrite16(selector_field(seg), state->selector);
	vmwrite32(limit_field(seg), state->limit);
	vmwrite32(access_field(seg), state->access);
	vmwrite(base_field(seg), state->base);
}

/* What the guest believes a control register to hold: its own bits from the register, the others from the shadow. */
static uint64_t read_cr(struct vmcs_field_natural real, struct vmcs_field_natural shadow, uint64_t owned)
{
	return (vmread(real) & owned) | (vmread(shadow) & ~owned);
}

/* With shadow paging the VMCS holds what the hardware runs with; the guest's own values are kept beside it. */
static inline uint64_t read_cr3_of(struct vcpu *v)
{
	return __builtin_expect(v->shadow != NULL, 0) ? v->cr3 : vmread(VMCS_GUEST_CR3);
}

static inline uint64_t read_efer_of(struct vcpu *v)
{
	return __builtin_expect(v->shadow != NULL, 0) ? vmx_of(v)->efer : vmread64(VMCS_GUEST_EFER);
}

/* DR0..DR3 and DR6 stay in the CPU while the vCPU is loaded. */
static uint64_t debug_register_read(enum vcpu_register reg)
{
	uint64_t value;

	switch (reg) {
	case VCPU_DR0:
		__asm__ volatile("mov %%dr0, %0" : "=r"(value));
		break;
	case VCPU_DR1:
		__asm__ volatile("mov %%dr1, %0" : "=r"(value));
		break;
	case VCPU_DR2:
		__asm__ volatile("mov %%dr2, %0" : "=r"(value));
		break;
	case VCPU_DR3:
		__asm__ volatile("mov %%dr3, %0" : "=r"(value));
		break;
	default:
		__asm__ volatile("mov %%dr6, %0" : "=r"(value));
		break;
	}
	return value;
}

static void debug_register_write(enum vcpu_register reg, uint64_t value)
{
	switch (reg) {
	case VCPU_DR0:
		__asm__ volatile("mov %0, %%dr0" : : "r"(value));
		break;
	case VCPU_DR1:
		__asm__ volatile("mov %0, %%dr1" : : "r"(value));
		break;
	case VCPU_DR2:
		__asm__ volatile("mov %0, %%dr2" : : "r"(value));
		break;
	case VCPU_DR3:
		__asm__ volatile("mov %0, %%dr3" : : "r"(value));
		break;
	default:
		__asm__ volatile("mov %0, %%dr6" : : "r"((value & 0x1e00f) | DR6_RESET));
		break;
	}
}

uint64_t vmx_read(struct vcpu *v, enum vcpu_register reg)
{
	switch (reg) {
	case VCPU_RIP:
		return vmread(VMCS_GUEST_RIP);
	case VCPU_RSP:
		return vmread(VMCS_GUEST_RSP);
	case VCPU_RFLAGS:
		return vmread(VMCS_GUEST_RFLAGS);
	case VCPU_CR0:
		return read_cr(VMCS_GUEST_CR0, VMCS_CR0_SHADOW, vmx_of(v)->cr0_owned);
	case VCPU_CR2:
		return read_cr2();
	case VCPU_CR3:
		return read_cr3_of(v);
	case VCPU_CR4:
		return read_cr(VMCS_GUEST_CR4, VMCS_CR4_SHADOW, vmx_of(v)->cr4_owned);
	case VCPU_EFER:
		return read_efer_of(v);
	case VCPU_GDT_BASE:
		return vmread(VMCS_GUEST_GDTR_BASE);
	case VCPU_GDT_LIMIT:
		return vmread32(VMCS_GUEST_GDTR_LIMIT);
	case VCPU_IDT_BASE:
		return vmread(VMCS_GUEST_IDTR_BASE);
	case VCPU_IDT_LIMIT:
		return vmread32(VMCS_GUEST_IDTR_LIMIT);
	case VCPU_DR0 ... VCPU_DR6:
		return debug_register_read(reg);
	case VCPU_DR7:
		return vmread(VMCS_GUEST_DR7);
	case VCPU_INTERRUPTIBILITY:
		return vmread32(VMCS_GUEST_INTERRUPTIBILITY);
	case VCPU_PAT:
		return vmx_controls.entry & ENTRY_LOAD_PAT ? vmread64(VMCS_GUEST_PAT) : vmx_of(v)->pat;
	case VCPU_FS_BASE:
		return vmread(VMCS_GUEST_FS_BASE);
	case VCPU_GS_BASE:
		return vmread(VMCS_GUEST_GS_BASE);
	case VCPU_SYSENTER_CS:
		return vmread32(VMCS_GUEST_SYSENTER_CS);
	case VCPU_SYSENTER_ESP:
		return vmread(VMCS_GUEST_SYSENTER_ESP);
	case VCPU_SYSENTER_EIP:
		return vmread(VMCS_GUEST_SYSENTER_EIP);
	case VCPU_XCR0:
		return v->xcr0;
	case VCPU_REGISTERS:
		break;
	}
	return 0;
}

void vmx_read_context(struct vcpu *v, struct vcpu_context *c)
{
	c->rip = vmread(VMCS_GUEST_RIP);
	c->rsp = vmread(VMCS_GUEST_RSP);
	c->rflags = vmread(VMCS_GUEST_RFLAGS);
	c->cr0 = read_cr(VMCS_GUEST_CR0, VMCS_CR0_SHADOW, vmx_of(v)->cr0_owned);
	c->cr3 = vmread(VMCS_GUEST_CR3);
	c->cr4 = read_cr(VMCS_GUEST_CR4, VMCS_CR4_SHADOW, vmx_of(v)->cr4_owned);
	c->efer = vmread64(VMCS_GUEST_EFER);
	c->cs_access = vmread32(VMCS_GUEST_CS_ACCESS);
	c->ss_access = vmread32(VMCS_GUEST_SS_ACCESS);
	if (__builtin_expect(v->shadow != NULL, 0)) {
		c->cr3 = v->cr3;
		c->efer = vmx_of(v)->efer;
	}
}

static void write_cr4_state(struct vcpu *v, uint64_t value)
{
	uint64_t real = value | vmx_controls.cr4_fixed0 | CR4_MCE;

	if (v->shadow) {
		/* Shadow tables have PAE's format or four levels, and guests without paging know neither SMEP nor SMAP. */
		real = (real & ~(CR4_PCIDE | CR4_LA57 | CR4_PKE)) | CR4_PAE;
		if (!(vmread(VMCS_CR0_SHADOW) & CR0_PG))
			real &= ~(CR4_SMEP | CR4_SMAP);
	}
	vmwrite(VMCS_GUEST_CR4, real);
	vmwrite(VMCS_CR4_SHADOW, value);
}

static void write_cr0_state(struct vcpu *v, uint64_t value)
{
	/* Unrestricted guest frees PE and PG; the other fixed bits (NE) stay as VMX wants them, the shadow shows the guest's own. With
	 * shadow paging all are fixed, and WP makes the guest's kernel, too, heed the read-only entries by which page tables are traced. */
	uint64_t fixed = v->shadow ? vmx_controls.cr0_fixed0 | CR0_WP : vmx_controls.cr0_fixed0 & ~(CR0_PE | CR0_PG);

	vmwrite(VMCS_GUEST_CR0, (value | fixed) & vmx_controls.cr0_fixed1 & ~(CR0_CD | CR0_NW));
	vmwrite(VMCS_CR0_SHADOW, value);
	if (v->shadow)
		write_cr4_state(v, vmx_read(v, VCPU_CR4));
}

static void write_efer_state(struct vcpu *v, uint64_t value)
{
	uint32_t entry = vmread32(VMCS_ENTRY_CONTROLS);
	uint64_t real = value;

	vmx_of(v)->efer = value;
	/* With shadow paging CR0.PG is always on, so that LME must be what LMA is; and the tables use NX. */
	if (v->shadow)
		real = (value & ~(EFER_LME | EFER_LMA)) | (value & EFER_LMA ? EFER_LME | EFER_LMA : 0) | EFER_NXE;
	/* Without this control the CPU derives LMA and LME from the next one; the rest of EFER stays Lamina's. */
	if (vmx_controls.entry & ENTRY_LOAD_EFER)
		vmwrite64(VMCS_GUEST_EFER, real);
	vmwrite32(VMCS_ENTRY_CONTROLS, value & EFER_LMA ? entry | ENTRY_IA32E : entry & ~(uint32_t)ENTRY_IA32E);
}

void vmx_shadow_root(struct vcpu *v, uint64_t root)
{
	(void)v;
	vmwrite(VMCS_GUEST_CR3, root);
}

void vmx_write(struct vcpu *v, enum vcpu_register reg, uint64_t value)
{
	switch (reg) {
	case VCPU_RIP:
		vmwrite(VMCS_GUEST_RIP, value);
		break;
	case VCPU_RSP:
		vmwrite(VMCS_GUEST_RSP, value);
		break;
	case VCPU_RFLAGS:
		vmwrite(VMCS_GUEST_RFLAGS, value | RFLAGS_FIXED);
		break;
	case VCPU_CR0:
		write_cr0_state(v, value);
		break;
	case VCPU_CR2:
		write_cr2(value);
		break;
	case VCPU_CR3:
		if (v->shadow)
			v->cr3 = value;
		else
			vmwrite(VMCS_GUEST_CR3, value);
		break;
	case VCPU_CR4:
		write_cr4_state(v, value);
		break;
	case VCPU_EFER:
		write_efer_state(v, value);
		break;
	case VCPU_GDT_BASE:
		vmwrite(VMCS_GUEST_GDTR_BASE, value);
		break;
	case VCPU_GDT_LIMIT:
		vmwrite32(VMCS_GUEST_GDTR_LIMIT, (uint32_t)value);
		break;
	case VCPU_IDT_BASE:
		vmwrite(VMCS_GUEST_IDTR_BASE, value);
		break;
	case VCPU_IDT_LIMIT:
		vmwrite32(VMCS_GUEST_IDTR_LIMIT, (uint32_t)value);
		break;
	case VCPU_DR0 ... VCPU_DR6:
		debug_register_write(reg, value);
		break;
	case VCPU_INTERRUPTIBILITY:
		vmwrite32(VMCS_GUEST_INTERRUPTIBILITY, (uint32_t)value);
		break;
	case VCPU_DR7:
		vmwrite(VMCS_GUEST_DR7, value);
		break;
	case VCPU_PAT:
		vmx_of(v)->pat = value;
		if (vmx_controls.entry & ENTRY_LOAD_PAT)
			vmwrite64(VMCS_GUEST_PAT, value);
		break;
	case VCPU_FS_BASE:
		vmwrite(VMCS_GUEST_FS_BASE, value);
		break;
	case VCPU_GS_BASE:
		vmwrite(VMCS_GUEST_GS_BASE, value);
		break;
	case VCPU_SYSENTER_CS:
		vmwrite32(VMCS_GUEST_SYSENTER_CS, (uint32_t)value);
		break;
	case VCPU_SYSENTER_ESP:
		vmwrite(VMCS_GUEST_SYSENTER_ESP, value);
		break;
	case VCPU_SYSENTER_EIP:
		vmwrite(VMCS_GUEST_SYSENTER_EIP, value);
		break;
	case VCPU_XCR0:
	case VCPU_REGISTERS:
		break;
	}
}

/* With PAE paging the CPU takes the four PDPTEs from the VMCS at an entry, and a MOV to CR0 or CR4 loads them from memory (SDM vol. 3,
 * "Loading the PDPTEs"). Where CR3 points outside RAM they are not present. Returns ERR_INVALID (#GP) for reserved bits. */
static int load_pdptes(struct vcpu *v)
{
	uint64_t reserved = PDPTE_RESERVED_LOW | ~(BIT(cpu_features.phys_bits) - 1);
	uint64_t pdpte[4] = { 0 };

	if (vcpu_read_pdptes(v, read_cr3_of(v), pdpte))
		pdpte[0] = pdpte[1] = pdpte[2] = pdpte[3] = 0;
	for (unsigned i = 0; i < 4; i++)
		if (pdpte[i] & PTE_P && pdpte[i] & reserved)
			return ERR_INVALID;
	if (v->shadow)
		return 0;
	vmwrite64(VMCS_GUEST_PDPTE0, pdpte[0]);
	vmwrite64(VMCS_GUEST_PDPTE1, pdpte[1]);
	vmwrite64(VMCS_GUEST_PDPTE2, pdpte[2]);
	vmwrite64(VMCS_GUEST_PDPTE3, pdpte[3]);
	return 0;
}

/* SDM vol. 3, "Control Registers" and vol. 2, MOV to CR: what raises #GP. */
int vmx_set_cr0(struct vcpu *v, uint64_t value)
{
	const uint64_t defined = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
	uint64_t old = vmx_read(v, VCPU_CR0), cr4 = vmx_read(v, VCPU_CR4);
	uint64_t efer = read_efer_of(v);
	bool long_code = efer & EFER_LMA && vmread32(VMCS_GUEST_CS_ACCESS) & SEGMENT_L;

	if (value >> 32)
		return ERR_INVALID;
	value = (value & defined) | CR0_ET;
	if ((value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
		return ERR_INVALID;
	if (value & CR0_PG && !(efer & (EFER_LME | EFER_LMA)) && cr4 & CR4_PAE && load_pdptes(v))
		return ERR_INVALID;
	if (value & CR0_PG && !(old & CR0_PG) && efer & EFER_LME) {
		/* Long mode cannot begin in a 64-bit code segment or with a 16-bit TSS (SDM vol. 3, "Initializing IA-32e Mode"). */
		if (!(cr4 & CR4_PAE) || vmread32(VMCS_GUEST_CS_ACCESS) & SEGMENT_L || (vmread32(VMCS_GUEST_TR_ACCESS) & SEGMENT_TYPE) != TYPE_TSS32_BUSY)
			return ERR_INVALID;
		write_efer_state(v, efer | EFER_LMA);
	}
	if (!(value & CR0_PG) && old & CR0_PG) {
		if (cr4 & CR4_PCIDE || long_code)
			return ERR_INVALID;
		write_efer_state(v, efer & ~EFER_LMA);
	}
	write_cr0_state(v, value);
	if ((value ^ old) & (CR0_PG | CR0_PE))
		vmx_flush(v);
	return 0;
}

int vmx_set_cr4(struct vcpu *v, uint64_t value)
{
	uint64_t old = vmx_read(v, VCPU_CR4), efer = read_efer_of(v);

	if (value & ~vmx_of(v)->cr4_offered)
		return ERR_INVALID;
	if (efer & EFER_LMA && !(value & CR4_PAE))
		return ERR_INVALID;
	if (value & CR4_PCIDE && !(old & CR4_PCIDE) && (!(efer & EFER_LMA) || read_cr3_of(v) & 0xfff))
		return ERR_INVALID;
	if (value & CR4_PAE && !(efer & EFER_LMA) && vmx_read(v, VCPU_CR0) & CR0_PG && load_pdptes(v))
		return ERR_INVALID;
	write_cr4_state(v, value);
	if ((value ^ old) & (CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PCIDE | CR4_PSE))
		vmx_flush(v);
	return 0;
}

int vmx_set_efer(struct vcpu *v, uint64_t value)
{
	uint64_t old = read_efer_of(v);

	if (value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
		return ERR_INVALID;
	if ((value ^ old) & EFER_LME && vmx_read(v, VCPU_CR0) & CR0_PG)
		return ERR_INVALID;
	value = (value & ~EFER_LMA) | (old & EFER_LMA);
	write_efer_state(v, value);
	if ((value ^ old) & EFER_NXE)
		vmx_flush(v);
	return 0;
}

void vmx_advance(struct vcpu *v, unsigned length)
{
	uint64_t old = vmread(VMCS_GUEST_RIP), rip = old + length, flags = vmread(VMCS_GUEST_RFLAGS);
	uint32_t blocking = vmread32(VMCS_GUEST_INTERRUPTIBILITY);

	(void)v;
	/* Outside 64-bit code RIP is EIP (or IP, whose overflow raises #GP by CS's limit at the next fetch). */
	if (__builtin_expect((rip ^ old) >> 32 != 0, 0) &&
	    !(vmread32(VMCS_GUEST_CS_ACCESS) & SEGMENT_L && read_efer_of(v) & EFER_LMA))
		rip = (uint32_t)rip;
	vmwrite(VMCS_GUEST_RIP, rip);
	if (__builtin_expect((blocking & (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)) != 0, 0))
		vmwrite32(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(uint32_t)(INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS));
	if (__builtin_expect((flags & (RFLAGS_TF | RFLAGS_RF)) != 0, 0)) {
		/* RF lasts for one instruction; after a single-stepped one comes the trap (SDM vol. 3, "Guest Non-Register State",
		 * pending debug exceptions, BS). */
		vmwrite(VMCS_GUEST_RFLAGS, flags & ~RFLAGS_RF);
		if (flags & RFLAGS_TF)
			vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | DR6_BS);
	}
}
