/* The constants and structure offsets that the assembly files share with C. The build turns each line marked -> in this file's compilation
 * into a %define of build/asm_offsets.inc: no number that a header states is typed again in an .asm file. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/svm/svm.h"
#include "arch/x86_64/traps.h"
#include "arch/x86_64/vmx/vmx.h"
#include "boot/boot_info.h"
#include "boot/efi/handoff.h"
#include "boot/multiboot2.h"
#include "lib/uart.h"
#include "lib/x86/cpuid.h"
#include "lib/x86/msr.h"
#include "lib/x86/paging.h"
#include "lib/x86/pc.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/exits/cpuid_bits.h"
#include "vmm/vcpu/vcpu.h"

#define DEFINE(name, value) __asm__ volatile("\n->" #name " %0" : : "i"(value))
#define CONSTANT(name) __asm__ volatile("\n->" #name " %0" : : "i"(name))
#define OFFSET(name, type, member) DEFINE(name, __builtin_offsetof(type, member))
#define GPR(name) OFFSET(VCPU_##name, struct vcpu, gpr[GPR_##name])

enum {
#define ENCODING(width, name, number) ENCODING_##name = (number),
	VMCS_FIELDS(ENCODING)
#undef ENCODING
};

void asm_offsets(void);

void asm_offsets(void)
{
	/* Registers, MSRs, page tables, segments */
	CONSTANT(CR0_PE);
	CONSTANT(CR0_MP);
	CONSTANT(CR0_EM);
	CONSTANT(CR0_TS);
	CONSTANT(CR0_ET);
	CONSTANT(CR0_NE);
	CONSTANT(CR0_WP);
	CONSTANT(CR0_NW);
	CONSTANT(CR0_CD);
	CONSTANT(CR0_PG);
	CONSTANT(CR4_PAE);
	CONSTANT(CR4_PCIDE);
	CONSTANT(CR4_CET);
	CONSTANT(MSR_EFER);
	CONSTANT(EFER_LME);
	CONSTANT(EFER_NXE);
	CONSTANT(PTE_P);
	CONSTANT(PTE_W);
	CONSTANT(PTE_PS);
	CONSTANT(PAGE_SIZE);
	CONSTANT(DESCRIPTOR_CODE_32);
	CONSTANT(DESCRIPTOR_CODE_64);
	CONSTANT(DESCRIPTOR_DATA_32);
	CONSTANT(GDT_CODE);
	CONSTANT(GDT_DATA);
	CONSTANT(CPUID_E1_LM);
	CONSTANT(CPUID_E1_NX);
	DEFINE(ERROR_CODE_VECTORS, VECTORS_WITH_ERROR_CODE | VECTORS_WITH_ERROR_CODE_AMD);

	/* Booting */
	CONSTANT(KERNEL_BASE);
	CONSTANT(MULTIBOOT2_BOOT_MAGIC);
	CONSTANT(BOOT_INFO_MAGIC);
	CONSTANT(VGA_TEXT_PHYS);
	CONSTANT(PORT_COM1);
	CONSTANT(UART_DATA);
	CONSTANT(UART_DIVISOR_LOW);
	CONSTANT(UART_DIVISOR_HIGH);
	CONSTANT(UART_FCR);
	CONSTANT(UART_LCR);
	CONSTANT(UART_LSR);
	CONSTANT(FCR_ENABLE);
	CONSTANT(FCR_CLEAR_RX);
	CONSTANT(FCR_CLEAR_TX);
	CONSTANT(LCR_WORD);
	CONSTANT(LCR_DLAB);
	CONSTANT(LSR_THRE);
	OFFSET(HANDOFF_ENTRY, struct handoff, entry);
	OFFSET(HANDOFF_MAGIC, struct handoff, magic);
	OFFSET(HANDOFF_INFO, struct handoff, info);
	OFFSET(HANDOFF_COUNT, struct handoff, count);
	OFFSET(HANDOFF_SEGMENT, struct handoff, segment);
	OFFSET(SEGMENT_TO, struct handoff_segment, to);
	OFFSET(SEGMENT_FROM, struct handoff_segment, from);
	OFFSET(SEGMENT_COPY, struct handoff_segment, copy);
	OFFSET(SEGMENT_ZERO, struct handoff_segment, zero);
	DEFINE(SEGMENT_SIZE, sizeof(struct handoff_segment));
	DEFINE(HANDOFF_SIZE, sizeof(struct handoff));

	/* Traps */
	OFFSET(TRAP_FRAME_VECTOR, struct trap_frame, vector);
	OFFSET(TRAP_FRAME_RIP, struct trap_frame, rip);

	/* World switches */
	GPR(RAX);
	GPR(RCX);
	GPR(RDX);
	GPR(RBX);
	GPR(RBP);
	GPR(RSI);
	GPR(RDI);
	GPR(R8);
	GPR(R9);
	GPR(R10);
	GPR(R11);
	GPR(R12);
	GPR(R13);
	GPR(R14);
	GPR(R15);
	DEFINE(VMCS_HOST_RSP, ENCODING_HOST_RSP);
	OFFSET(SVM_VMCB_RAX, struct svm_vcpu, vmcb.rax);
}
