/* A core's GDT, TSS and stacks are made once, in pool pages, and loaded by the core itself. */
#include "arch/x86_64/cpu.h"

#include "arch/x86_64/asm.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/traps.h"
#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "vmm/sched/sched.h"

struct cpu *cpus[CPUS_MAX];
unsigned cpu_count;

#define PAT_WITH_WC 0x0007040100070406ULL /* as after reset, entry 4 = WC (mm/policy_host.c) */

struct cpu *cpu_alloc(unsigned index, uint32_t apic_id)
{
	struct cpu *cpu = pool_alloc(&lamina_pool, (sizeof(struct cpu) + PAGE_SIZE - 1) / PAGE_SIZE);
	uint64_t tss;

	if (!cpu)
		return NULL;
	cpu->self = cpu;
	cpu->index = index;
	cpu->apic_id = apic_id;
	cpu->timer_deadline = UINT64_MAX;
	cpu->address_space = kernel_table.root;
	cpu->stack_top = map_stack(CPU_STACK_SIZE);
	cpu->hw_page = pool_alloc(&lamina_pool, cpu_features.svm ? 2 : 1);
	if (!cpu->stack_top || !cpu->hw_page)
		return NULL;
	for (unsigned i = 0; i < CPU_ISTS; i++) {
		cpu->tss.ist[i] = map_stack(CPU_IST_SIZE);
		if (!cpu->tss.ist[i])
			return NULL;
	}
	if (sched_add_core(index))
		return NULL;
	cpu->tss.io_map_base = sizeof(struct tss);

	tss = (uint64_t)&cpu->tss;
	cpu->gdt[GDT_CODE / 8] = DESCRIPTOR_CODE_64;
	cpu->gdt[GDT_DATA / 8] = DESCRIPTOR_DATA_32;
	/* SDM vol. 3, "TSS Descriptor in 64-bit mode" */
	cpu->gdt[GDT_TSS / 8] = (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 | (uint64_t)DESCRIPTOR_TSS_AVAILABLE << 40 |
				(tss >> 24 & 0xff) << 56;
	cpu->gdt[GDT_TSS / 8 + 1] = tss >> 32;
	return cpu;
}

static void load_segments(const struct cpu *cpu)
{
	struct table_pointer pointer = { sizeof(cpu->gdt) - 1, (uint64_t)cpu->gdt };

	__asm__ volatile("lgdt %0\n\t"
			 "push %1\n\t"
			 "lea 1f(%%rip), %%rax\n\t"
			 "push %%rax\n\t"
			 "lretq\n"
			 "1:\n\t"
			 "mov %2, %%ds\n\t"
			 "mov %2, %%es\n\t"
			 "mov %2, %%ss\n\t"
			 "xor %%eax, %%eax\n\t"
			 "mov %%eax, %%fs\n\t"
			 "mov %%eax, %%gs\n\t"
			 "ltr %w3"
			 : : "m"(pointer), "i"(GDT_CODE), "r"(GDT_DATA), "r"(GDT_TSS) : "rax", "memory");
}

void cpu_load(struct cpu *cpu)
{
	uint64_t cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_MCE;

	load_segments(cpu);
	wrmsr(MSR_GS_BASE, (uint64_t)cpu);
	traps_load();
	if (cpu_features.smep)
		cr4 |= CR4_SMEP;
	if (cpu_features.smap)
		cr4 |= CR4_SMAP;
	if (cpu_features.umip)
		cr4 |= CR4_UMIP;
	if (cpu_features.xsave)
		cr4 |= CR4_OSXSAVE;
	write_cr4(cr4);
	write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG);
	wrmsr(MSR_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	wrmsr(MSR_PAT, PAT_WITH_WC);
	__asm__ volatile("fninit");
}
