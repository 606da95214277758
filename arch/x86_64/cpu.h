/* One core of the machine: its state, found through GS. */
#ifndef ARCH_X86_64_CPU_H
#define ARCH_X86_64_CPU_H

#include "lib/types.h"
#include "vmm/interface/core.h"

#define CPUS_MAX CORES_MAX
#define CPU_STACK_SIZE KIB(16)
#define CPU_IST_SIZE KIB(4)
#define CPU_ISTS 3 /* double fault, NMI, machine check */

struct vcpu;

/* SDM vol. 3, "Task-State Segment in 64-bit mode". */
struct PACKED tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map_base;
};
_Static_assert(sizeof(struct tss) == 104 && offsetof(struct tss, ist) == 36 && offsetof(struct tss, io_map_base) == 102, "64-bit TSS");

#define GDT_CODE 0x08
#define GDT_DATA 0x10
#define GDT_TSS 0x18
#define GDT_ENTRIES 5

struct cpu {
	struct cpu *self;        /* first: what GS:0 holds */
	unsigned index;          /* 0 is the boot processor */
	uint32_t apic_id;
	uint64_t stack_top;
	struct vcpu *vcpu;       /* the vCPU whose state is loaded on this core; an address in its VM's address space */
	uint64_t address_space;  /* CR3 of that VM, or the kernel's */
	uint64_t timer_deadline; /* what the host timer is armed for, or TIME_NEVER */
	volatile bool online;
	uint64_t gdt[GDT_ENTRIES];
	struct tss tss;
	void *hw_page;           /* VMXON region; or host save area, then the VMCB for VMLOAD of the host's state */
	const void *hw_vcpu;     /* the vCPU whose control structure is current on this core */
	volatile bool kicked;    /* somebody wants this core to look at its vCPU */
	bool nmi_seen, nmi_reported;
};
_Static_assert(offsetof(struct cpu, self) == 0, "this_cpu() reads GS:0");

extern struct cpu *cpus[CPUS_MAX];
extern unsigned cpu_count;

static inline struct cpu *this_cpu(void)
{
	struct cpu *cpu;

	__asm__("mov %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

/* Allocate a core's struct and stacks. Returns NULL where the pool is exhausted. */
struct cpu *cpu_alloc(unsigned index, uint32_t apic_id);
/* Load this core's GDT, TSS, IDT and GS, and set the control bits that Lamina runs with. */
void cpu_load(struct cpu *cpu);

#endif
