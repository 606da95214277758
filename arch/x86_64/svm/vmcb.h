/* The virtual machine control block (APM vol. 2, appendix B, "Layout of VMCB"). */
#ifndef ARCH_X86_64_SVM_VMCB_H
#define ARCH_X86_64_SVM_VMCB_H

#include "lib/types.h"
#include "lib/x86/events.h"

struct vmcb_segment {
	uint16_t selector, attributes;
	uint32_t limit;
	uint64_t base;
};
_Static_assert(sizeof(struct vmcb_segment) == 16, "VMCB segment");

/* Attributes above the access rights' lowest byte (APM vol. 2, "VMCB State Save Area"). */
#define ATTRIBUTE_L BIT(9)
#define ATTRIBUTE_DB BIT(10)

struct vmcb {
	/* Control area */
	uint32_t intercept_cr;         /* reads of CR0..15 in 15:0, writes in 31:16 */
	uint32_t intercept_dr;
	uint32_t intercept_exceptions;
	uint32_t intercept_misc1;
	uint32_t intercept_misc2;
	uint32_t intercept_misc3;
	uint8_t reserved0[0x3c - 0x18];
	uint16_t pause_filter_threshold, pause_filter_count;
	uint64_t iopm_base, msrpm_base;
	uint64_t tsc_offset;
	uint32_t asid;
	uint8_t tlb_control;
	uint8_t reserved1[3];
	uint8_t v_tpr;                 /* the guest's CR8 */
	uint8_t v_irq;
	uint8_t v_priority;
	uint8_t v_control;
	uint8_t v_vector;
	uint8_t reserved2[3];
	uint64_t interrupt_shadow;
	uint64_t exit_code, exit_info1, exit_info2, exit_interrupt_info;
	uint64_t nested_paging;
	uint64_t avic_apic_bar, ghcb;
	uint64_t event_injection;
	uint64_t nested_cr3;
	uint64_t lbr_virtualization;
	uint32_t clean;
	uint32_t reserved3;
	uint64_t next_rip;
	uint8_t fetched_bytes;
	uint8_t instruction_bytes[15];
	uint64_t avic_backing_page, reserved4, avic_logical_table, avic_physical_table, reserved5, vmsa;
	uint8_t reserved6[0x400 - 0x110];
	/* State-save area */
	struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t reserved7[0x4cb - 0x4a0];
	uint8_t cpl;
	uint32_t reserved8;
	uint64_t efer;
	uint8_t reserved9[0x548 - 0x4d8];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint8_t reserved10[0x5d8 - 0x580];
	uint64_t rsp, s_cet, ssp, isst_address, rax, star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2;
	uint8_t reserved11[0x668 - 0x648];
	uint64_t g_pat, debugctl, last_branch_from, last_branch_to, last_exception_from, last_exception_to;
	uint8_t reserved12[0x1000 - 0x698];
};

/* Every field with its offset: for the asserts below and for the dump. */
#define VMCB_FIELDS(X) \
	X(intercept_cr, 0x000) X(intercept_dr, 0x004) X(intercept_exceptions, 0x008) X(intercept_misc1, 0x00c) \
	X(intercept_misc2, 0x010) X(intercept_misc3, 0x014) X(pause_filter_threshold, 0x03c) X(pause_filter_count, 0x03e) \
	X(iopm_base, 0x040) X(msrpm_base, 0x048) X(tsc_offset, 0x050) X(asid, 0x058) X(tlb_control, 0x05c) \
	X(v_tpr, 0x060) X(v_irq, 0x061) X(v_priority, 0x062) X(v_control, 0x063) X(v_vector, 0x064) X(interrupt_shadow, 0x068) \
	X(exit_code, 0x070) X(exit_info1, 0x078) X(exit_info2, 0x080) X(exit_interrupt_info, 0x088) X(nested_paging, 0x090) \
	X(avic_apic_bar, 0x098) X(ghcb, 0x0a0) X(event_injection, 0x0a8) X(nested_cr3, 0x0b0) X(lbr_virtualization, 0x0b8) \
	X(clean, 0x0c0) X(next_rip, 0x0c8) X(fetched_bytes, 0x0d0) X(avic_backing_page, 0x0e0) X(avic_logical_table, 0x0f0) \
	X(avic_physical_table, 0x0f8) X(vmsa, 0x108) X(cpl, 0x4cb) X(efer, 0x4d0) X(cr4, 0x548) X(cr3, 0x550) X(cr0, 0x558) \
	X(dr7, 0x560) X(dr6, 0x568) X(rflags, 0x570) X(rip, 0x578) X(rsp, 0x5d8) X(s_cet, 0x5e0) X(ssp, 0x5e8) X(isst_address, 0x5f0) \
	X(rax, 0x5f8) X(star, 0x600) X(lstar, 0x608) X(cstar, 0x610) X(sfmask, 0x618) X(kernel_gs_base, 0x620) X(sysenter_cs, 0x628) \
	X(sysenter_esp, 0x630) X(sysenter_eip, 0x638) X(cr2, 0x640) X(g_pat, 0x668) X(debugctl, 0x670) X(last_branch_from, 0x678) \
	X(last_branch_to, 0x680) X(last_exception_from, 0x688) X(last_exception_to, 0x690)
#define VMCB_SEGMENTS(X) \
	X(es, 0x400) X(cs, 0x410) X(ss, 0x420) X(ds, 0x430) X(fs, 0x440) X(gs, 0x450) X(gdtr, 0x460) X(ldtr, 0x470) X(idtr, 0x480) \
	X(tr, 0x490)

#define VMCB_CHECK(field, offset) _Static_assert(__builtin_offsetof(struct vmcb, field) == (offset), "VMCB " #field);
VMCB_FIELDS(VMCB_CHECK)
VMCB_SEGMENTS(VMCB_CHECK)
VMCB_CHECK(instruction_bytes, 0x0d1)
#undef VMCB_CHECK
_Static_assert(sizeof(struct vmcb) == 0x1000, "a VMCB is a page");

/* intercept_cr */
#define INTERCEPT_CR_READ(n) BIT(n)
#define INTERCEPT_CR_WRITE(n) BIT(16 + (n))
/* intercept_misc1 */
#define INTERCEPT_INTR BIT(0)
#define INTERCEPT_NMI BIT(1)
#define INTERCEPT_INIT BIT(3)
#define INTERCEPT_VINTR BIT(4)
#define INTERCEPT_CR0_SELECTIVE BIT(5)
#define INTERCEPT_RDPMC BIT(15)
#define INTERCEPT_CPUID BIT(18)
#define INTERCEPT_IRET BIT(20)
#define INTERCEPT_INVD BIT(22)
#define INTERCEPT_HLT BIT(24)
#define INTERCEPT_INVLPG BIT(25)
#define INTERCEPT_INVLPGA BIT(26)
#define INTERCEPT_IOIO BIT(27)
#define INTERCEPT_MSR BIT(28)
#define INTERCEPT_TASK_SWITCH BIT(29)
#define INTERCEPT_SHUTDOWN BIT(31)
/* intercept_misc2 */
#define INTERCEPT_VMRUN BIT(0)
#define INTERCEPT_VMMCALL BIT(1)
#define INTERCEPT_VMLOAD BIT(2)
#define INTERCEPT_VMSAVE BIT(3)
#define INTERCEPT_STGI BIT(4)
#define INTERCEPT_CLGI BIT(5)
#define INTERCEPT_SKINIT BIT(6)
#define INTERCEPT_WBINVD BIT(9)
#define INTERCEPT_MONITOR BIT(10)
#define INTERCEPT_MWAIT BIT(11)
#define INTERCEPT_MWAIT_ARMED BIT(12)
#define INTERCEPT_XSETBV BIT(13)
#define INTERCEPT_RDPRU BIT(14)
/* intercept_misc3 */
#define INTERCEPT_INVPCID BIT(2)
#define INTERCEPT_MCOMMIT BIT(3)

#define TLB_FLUSH_ALL 1
#define TLB_FLUSH_ASID 3

#define V_IRQ BIT(0)         /* v_irq */
#define V_IGNORE_TPR BIT(4)  /* v_priority */
#define V_INTR_MASKING BIT(0) /* v_control */

#define SHADOW BIT(0)        /* interrupt_shadow */

/* Groups of fields that the CPU may keep from the last VMRUN (APM vol. 2, "VMCB Clean Bits"). */
#define CLEAN_CONTROLS BIT(0) /* intercepts, TSC offset, pause filter */
#define CLEAN_MAPS BIT(1)
#define CLEAN_ASID BIT(2)
#define CLEAN_TPR BIT(3)      /* and the virtual interrupt */
#define CLEAN_NESTED BIT(4)   /* nested CR3, G_PAT */
#define CLEAN_CR BIT(5)       /* CR0, CR3, CR4, EFER */
#define CLEAN_DR BIT(6)
#define CLEAN_TABLES BIT(7)   /* GDTR, IDTR */
#define CLEAN_SEGMENTS BIT(8) /* CS, DS, SS, ES, CPL */
#define CLEAN_CR2 BIT(9)
#define CLEAN_LBR BIT(10)
#define CLEAN_ALL 0x7ffU

#endif
