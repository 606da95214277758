/* What to print when a guest cannot go on, and why the CPU refused a VM entry. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/vmx/vmx.h"
#include "lib/log.h"
#include "lib/types.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"

static const struct {
	uint32_t encoding;
	const char *name;
} fields[] = {
#define FIELD_NAME(width, name, encoding) { encoding, #name },
	VMCS_FIELDS(FIELD_NAME)
#undef FIELD_NAME
};

void vmx_dump(struct vcpu *v)
{
	(void)v;
	for (unsigned i = 0; i + 1 < ARRAY_SIZE(fields); i += 2)
		log_line("  %-26s %016lx   %-26s %016lx", fields[i].name, vmcs_read_any(fields[i].encoding), fields[i + 1].name,
			 vmcs_read_any(fields[i + 1].encoding));
	if (ARRAY_SIZE(fields) % 2)
		log_line("  %-26s %016lx", fields[ARRAY_SIZE(fields) - 1].name, vmcs_read_any(fields[ARRAY_SIZE(fields) - 1].encoding));
}

static void complain(const char *check, uint64_t value)
{
	log_line("  failed check: %s (value %lx)", check, value);
}

static bool canonical(uint64_t address)
{
	return (int64_t)(address << 16) >> 16 == (int64_t)address;
}

/* SDM vol. 3, "Checks on Guest Control Registers, Debug Registers, and MSRs". */
static void check_registers(void)
{
	uint64_t cr0 = vmread(VMCS_GUEST_CR0), cr4 = vmread(VMCS_GUEST_CR4), efer = vmread64(VMCS_GUEST_EFER);
	bool ia32e = vmread32(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E;
	uint64_t fixed0 = vmx_controls.cr0_fixed0 & ~(CR0_PE | CR0_PG);

	if ((cr0 & fixed0) != fixed0 || cr0 & ~vmx_controls.cr0_fixed1)
		complain("CR0 has a bit that VMX operation fixes", cr0);
	if (cr0 & CR0_PG && !(cr0 & CR0_PE))
		complain("CR0.PG without CR0.PE", cr0);
	if ((cr4 & vmx_controls.cr4_fixed0) != vmx_controls.cr4_fixed0 || cr4 & ~vmx_controls.cr4_fixed1)
		complain("CR4 has a bit that VMX operation fixes", cr4);
	if (ia32e && (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE)))
		complain("IA-32e mode guest without CR0.PG and CR4.PAE", cr0);
	if (!ia32e && cr4 & CR4_PCIDE)
		complain("CR4.PCIDE outside IA-32e mode", cr4);
	if (!!(efer & EFER_LMA) != ia32e || (cr0 & CR0_PG && !!(efer & EFER_LME) != ia32e))
		complain("IA32_EFER.LMA or LME differs from the IA-32e mode guest control", efer);
	if (vmread(VMCS_GUEST_DR7) >> 32)
		complain("DR7 bits 63:32 not 0", vmread(VMCS_GUEST_DR7));
	if (!canonical(vmread(VMCS_GUEST_SYSENTER_ESP)) || !canonical(vmread(VMCS_GUEST_SYSENTER_EIP)))
		complain("SYSENTER_ESP or EIP not canonical", vmread(VMCS_GUEST_SYSENTER_EIP));
}

static void check_segment(struct vcpu *v, enum segment_register seg, const char *name)
{
	struct segment_state s;
	bool virtual_8086 = vmread(VMCS_GUEST_RFLAGS) & RFLAGS_VM;

	vmx_read_segment(v, seg, &s);
	if (s.access & SEGMENT_UNUSABLE && seg != SEG_CS && seg != SEG_TR)
		return;
	if (virtual_8086 && seg <= SEG_GS && (s.base != (uint64_t)s.selector << 4 || s.limit != 0xffff || s.access != 0xf3)) {
		complain(name, s.access);
		return;
	}
	if (!(s.access & SEGMENT_P))
		complain("a usable segment is not present", s.access);
	if (s.access & 0xfffe0f00)
		complain("reserved access-right bits are not 0", s.access);
	if (((s.limit & 0xfff) != 0xfff && s.access & SEGMENT_G) || (s.limit >> 20 && !(s.access & SEGMENT_G)))
		complain("granularity and limit do not fit each other", s.limit);
	if (seg == SEG_TR && (s.access & 15) != 11 && (s.access & 15) != 3)
		complain("TR is not a busy TSS", s.access);
	if (seg == SEG_CS && s.access & SEGMENT_L && s.access & SEGMENT_DB)
		complain("CS has both L and D", s.access);
}

/* SDM vol. 3, "Checks on Guest RIP, RFLAGS" and "Checks on Guest Non-Register State". */
static void check_rest(void)
{
	uint64_t rflags = vmread(VMCS_GUEST_RFLAGS), rip = vmread(VMCS_GUEST_RIP);
	uint32_t blocking = vmread32(VMCS_GUEST_INTERRUPTIBILITY), event = vmread32(VMCS_ENTRY_INTERRUPTION);
	bool code_64 = vmread32(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E && vmread32(VMCS_GUEST_CS_ACCESS) & SEGMENT_L;

	if (rflags & ~0x3f7fd7UL || !(rflags & RFLAGS_FIXED))
		complain("RFLAGS reserved bits", rflags);
	if (rflags & RFLAGS_VM && (vmread32(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E || !(vmread(VMCS_GUEST_CR0) & CR0_PE)))
		complain("RFLAGS.VM outside protected mode", rflags);
	if (code_64 ? !canonical(rip) : rip >> 32)
		complain("RIP", rip);
	if ((blocking & INTERRUPTIBILITY_STI && blocking & INTERRUPTIBILITY_MOV_SS) ||
	    (blocking & INTERRUPTIBILITY_STI && !(rflags & RFLAGS_IF)))
		complain("interruptibility state", blocking);
	if (event & EVENT_VALID && (event >> EVENT_KIND_SHIFT & 7) == EVENT_KIND_INTERRUPT && (!(rflags & RFLAGS_IF) || blocking & 3))
		complain("an interrupt is injected while interrupts are blocked", event);
	if (vmread32(VMCS_GUEST_ACTIVITY) > 3)
		complain("activity state", vmread32(VMCS_GUEST_ACTIVITY));
	if (vmread64(VMCS_VMCS_LINK_POINTER) != UINT64_MAX)
		complain("VMCS link pointer", vmread64(VMCS_VMCS_LINK_POINTER));
}

void vmx_explain_entry_failure(struct vcpu *v)
{
	static const char *const names[] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR" };

	check_registers();
	for (enum segment_register s = SEG_ES; s < SEG_COUNT; s++)
		check_segment(v, s, names[s]);
	check_rest();
}
