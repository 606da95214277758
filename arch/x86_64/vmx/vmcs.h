/* The fields of the VMCS (SDM vol. 3, appendix B). A field's type is its width, so that neither a field of another width nor a plain
 * number (a value, say) passes where a field is meant. */
#ifndef ARCH_X86_64_VMX_VMCS_H
#define ARCH_X86_64_VMX_VMCS_H

#include "lib/types.h"

struct vmcs_field16 {
	uint32_t encoding;
};
struct vmcs_field32 {
	uint32_t encoding;
};
struct vmcs_field64 {
	uint32_t encoding;
};
struct vmcs_field_natural {
	uint32_t encoding;
};

/* X(width, name, encoding); the dump prints the names. */
#define VMCS_FIELDS(X) \
	X(16, VPID, 0x0000) \
	X(16, GUEST_ES_SELECTOR, 0x0800) \
	X(16, GUEST_CS_SELECTOR, 0x0802) \
	X(16, GUEST_SS_SELECTOR, 0x0804) \
	X(16, GUEST_DS_SELECTOR, 0x0806) \
	X(16, GUEST_FS_SELECTOR, 0x0808) \
	X(16, GUEST_GS_SELECTOR, 0x080a) \
	X(16, GUEST_LDTR_SELECTOR, 0x080c) \
	X(16, GUEST_TR_SELECTOR, 0x080e) \
	X(16, GUEST_INTERRUPT_STATUS, 0x0810) \
	X(16, HOST_ES_SELECTOR, 0x0c00) \
	X(16, HOST_CS_SELECTOR, 0x0c02) \
	X(16, HOST_SS_SELECTOR, 0x0c04) \
	X(16, HOST_DS_SELECTOR, 0x0c06) \
	X(16, HOST_FS_SELECTOR, 0x0c08) \
	X(16, HOST_GS_SELECTOR, 0x0c0a) \
	X(16, HOST_TR_SELECTOR, 0x0c0c) \
	X(64, IO_BITMAP_A, 0x2000) \
	X(64, IO_BITMAP_B, 0x2002) \
	X(64, MSR_BITMAP, 0x2004) \
	X(64, EXIT_MSR_STORE, 0x2006) \
	X(64, EXIT_MSR_LOAD, 0x2008) \
	X(64, ENTRY_MSR_LOAD, 0x200a) \
	X(64, TSC_OFFSET, 0x2010) \
	X(64, VIRTUAL_APIC, 0x2012) \
	X(64, APIC_ACCESS, 0x2014) \
	X(64, EPT_POINTER, 0x201a) \
	X(64, EOI_EXIT_0, 0x201c) \
	X(64, EOI_EXIT_1, 0x201e) \
	X(64, EOI_EXIT_2, 0x2020) \
	X(64, EOI_EXIT_3, 0x2022) \
	X(64, XSS_EXIT_BITMAP, 0x202c) \
	X(64, GUEST_PHYSICAL_ADDRESS, 0x2400) \
	X(64, VMCS_LINK_POINTER, 0x2800) \
	X(64, GUEST_DEBUGCTL, 0x2802) \
	X(64, GUEST_PAT, 0x2804) \
	X(64, GUEST_EFER, 0x2806) \
	X(64, GUEST_PDPTE0, 0x280a) \
	X(64, GUEST_PDPTE1, 0x280c) \
	X(64, GUEST_PDPTE2, 0x280e) \
	X(64, GUEST_PDPTE3, 0x2810) \
	X(64, HOST_PAT, 0x2c00) \
	X(64, HOST_EFER, 0x2c02) \
	X(32, PIN_BASED_CONTROLS, 0x4000) \
	X(32, PROCESSOR_CONTROLS, 0x4002) \
	X(32, EXCEPTION_BITMAP, 0x4004) \
	X(32, PAGE_FAULT_MASK, 0x4006) \
	X(32, PAGE_FAULT_MATCH, 0x4008) \
	X(32, CR3_TARGET_COUNT, 0x400a) \
	X(32, EXIT_CONTROLS, 0x400c) \
	X(32, EXIT_MSR_STORE_COUNT, 0x400e) \
	X(32, EXIT_MSR_LOAD_COUNT, 0x4010) \
	X(32, ENTRY_CONTROLS, 0x4012) \
	X(32, ENTRY_MSR_LOAD_COUNT, 0x4014) \
	X(32, ENTRY_INTERRUPTION, 0x4016) \
	X(32, ENTRY_ERROR_CODE, 0x4018) \
	X(32, ENTRY_INSTRUCTION_LENGTH, 0x401a) \
	X(32, TPR_THRESHOLD, 0x401c) \
	X(32, SECONDARY_CONTROLS, 0x401e) \
	X(32, INSTRUCTION_ERROR, 0x4400) \
	X(32, EXIT_REASON, 0x4402) \
	X(32, EXIT_INTERRUPTION, 0x4404) \
	X(32, EXIT_ERROR_CODE, 0x4406) \
	X(32, IDT_VECTORING, 0x4408) \
	X(32, IDT_VECTORING_ERROR, 0x440a) \
	X(32, EXIT_INSTRUCTION_LENGTH, 0x440c) \
	X(32, EXIT_INSTRUCTION_INFO, 0x440e) \
	X(32, GUEST_ES_LIMIT, 0x4800) \
	X(32, GUEST_CS_LIMIT, 0x4802) \
	X(32, GUEST_SS_LIMIT, 0x4804) \
	X(32, GUEST_DS_LIMIT, 0x4806) \
	X(32, GUEST_FS_LIMIT, 0x4808) \
	X(32, GUEST_GS_LIMIT, 0x480a) \
	X(32, GUEST_LDTR_LIMIT, 0x480c) \
	X(32, GUEST_TR_LIMIT, 0x480e) \
	X(32, GUEST_GDTR_LIMIT, 0x4810) \
	X(32, GUEST_IDTR_LIMIT, 0x4812) \
	X(32, GUEST_ES_ACCESS, 0x4814) \
	X(32, GUEST_CS_ACCESS, 0x4816) \
	X(32, GUEST_SS_ACCESS, 0x4818) \
	X(32, GUEST_DS_ACCESS, 0x481a) \
	X(32, GUEST_FS_ACCESS, 0x481c) \
	X(32, GUEST_GS_ACCESS, 0x481e) \
	X(32, GUEST_LDTR_ACCESS, 0x4820) \
	X(32, GUEST_TR_ACCESS, 0x4822) \
	X(32, GUEST_INTERRUPTIBILITY, 0x4824) \
	X(32, GUEST_ACTIVITY, 0x4826) \
	X(32, GUEST_SYSENTER_CS, 0x482a) \
	X(32, PREEMPTION_TIMER, 0x482e) \
	X(32, HOST_SYSENTER_CS, 0x4c00) \
	X(_natural, CR0_MASK, 0x6000) \
	X(_natural, CR4_MASK, 0x6002) \
	X(_natural, CR0_SHADOW, 0x6004) \
	X(_natural, CR4_SHADOW, 0x6006) \
	X(_natural, EXIT_QUALIFICATION, 0x6400) \
	X(_natural, GUEST_LINEAR_ADDRESS, 0x640a) \
	X(_natural, GUEST_CR0, 0x6800) \
	X(_natural, GUEST_CR3, 0x6802) \
	X(_natural, GUEST_CR4, 0x6804) \
	X(_natural, GUEST_ES_BASE, 0x6806) \
	X(_natural, GUEST_CS_BASE, 0x6808) \
	X(_natural, GUEST_SS_BASE, 0x680a) \
	X(_natural, GUEST_DS_BASE, 0x680c) \
	X(_natural, GUEST_FS_BASE, 0x680e) \
	X(_natural, GUEST_GS_BASE, 0x6810) \
	X(_natural, GUEST_LDTR_BASE, 0x6812) \
	X(_natural, GUEST_TR_BASE, 0x6814) \
	X(_natural, GUEST_GDTR_BASE, 0x6816) \
	X(_natural, GUEST_IDTR_BASE, 0x6818) \
	X(_natural, GUEST_DR7, 0x681a) \
	X(_natural, GUEST_RSP, 0x681c) \
	X(_natural, GUEST_RIP, 0x681e) \
	X(_natural, GUEST_RFLAGS, 0x6820) \
	X(_natural, GUEST_PENDING_DEBUG, 0x6822) \
	X(_natural, GUEST_SYSENTER_ESP, 0x6824) \
	X(_natural, GUEST_SYSENTER_EIP, 0x6826) \
	X(_natural, HOST_CR0, 0x6c00) \
	X(_natural, HOST_CR3, 0x6c02) \
	X(_natural, HOST_CR4, 0x6c04) \
	X(_natural, HOST_FS_BASE, 0x6c06) \
	X(_natural, HOST_GS_BASE, 0x6c08) \
	X(_natural, HOST_TR_BASE, 0x6c0a) \
	X(_natural, HOST_GDTR_BASE, 0x6c0c) \
	X(_natural, HOST_IDTR_BASE, 0x6c0e) \
	X(_natural, HOST_SYSENTER_ESP, 0x6c10) \
	X(_natural, HOST_SYSENTER_EIP, 0x6c12) \
	X(_natural, HOST_RSP, 0x6c14) \
	X(_natural, HOST_RIP, 0x6c16)

#define VMCS_DEFINE(width, name, number) static const struct vmcs_field##width VMCS_##name __attribute__((unused)) = { number };
VMCS_FIELDS(VMCS_DEFINE)
#undef VMCS_DEFINE

/* Read or write any field of the current VMCS by its encoding. A write that the CPU refuses is a fault of Lamina's: it traps, and the
 * dump of registers shows the encoding and the value; a call there would cost every caller a stack frame. */
#ifdef LAMINA_HOST_TEST /* unit tests bring a VMCS of their own */
uint64_t vmcs_read_any(uint64_t encoding);
void vmcs_write_any(uint64_t encoding, uint64_t value);
#else
static inline uint64_t vmcs_read_any(uint64_t encoding)
{
	uint64_t value;

	__asm__ volatile("vmread %1, %0" : "=r"(value) : "r"(encoding) : "cc");
	return value;
}

static inline void vmcs_write_any(uint64_t encoding, uint64_t value)
{
	__asm__ goto("vmwrite %1, %0\n\tjbe %l2" : : "r"(encoding), "r"(value) : "cc" : failed);
	return;
failed:
	__builtin_trap();
}
#endif

static inline uint16_t vmread16(struct vmcs_field16 field)
{
	return (uint16_t)vmcs_read_any(field.encoding);
}

static inline uint32_t vmread32(struct vmcs_field32 field)
{
	return (uint32_t)vmcs_read_any(field.encoding);
}

static inline uint64_t vmread64(struct vmcs_field64 field)
{
	return vmcs_read_any(field.encoding);
}

static inline uint64_t vmread(struct vmcs_field_natural field)
{
	return vmcs_read_any(field.encoding);
}

static inline void vmwrite16(struct vmcs_field16 field, uint16_t value)
{
	vmcs_write_any(field.encoding, value);
}

static inline void vmwrite32(struct vmcs_field32 field, uint32_t value)
{
	vmcs_write_any(field.encoding, value);
}

static inline void vmwrite64(struct vmcs_field64 field, uint64_t value)
{
	vmcs_write_any(field.encoding, value);
}

static inline void vmwrite(struct vmcs_field_natural field, uint64_t value)
{
	vmcs_write_any(field.encoding, value);
}

#endif
