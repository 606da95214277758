/* What this CPU's AMD-V offers (APM vol. 2, "Determining Support for SVM"; vol. 3, appendix E, leaf 8000_000Ah), and entering SVM host
 * mode. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "arch/x86_64/memory.h"
#include "arch/x86_64/svm/engine_svm.h"
#include "arch/x86_64/svm/svm.h"
#include "arch/x86_64/svm/vm_cr.h"
#include "arch/x86_64/traps.h"
#include "lib/x86/cpuid.h"
#include "lib/x86/msr.h"
#include "lib/x86/registers.h"
#include "vmm/exits/cpuid_bits.h"

#define INT_PENDING_C1E (3UL << 27) /* SmiOnCmpHalt, C1eOnCmpHalt */

struct svm_features svm_features;

/* Not every CPU (or emulator) has each of AMD's MSRs. Boot processor only. Not inlined: its labels are there once. */
__attribute__((noinline)) static bool has_msr(uint32_t msr)
{
	extern const uint8_t msr_read_at[], msr_missing_at[];
	uint32_t there;

	trap_expect(msr_read_at, msr_missing_at);
	__asm__ volatile(".globl msr_read_at, msr_missing_at\n"
			 "msr_read_at: rdmsr\n\t"
			 "mov $1, %%eax\n\t"
			 "jmp 1f\n"
			 "msr_missing_at: xor %%eax, %%eax\n"
			 "1:" : "=a"(there) : "c"(msr) : "rdx", "cc", "memory");
	trap_expect(NULL, NULL);
	return there;
}

/* Families 0Fh to 11h have C1E: when all cores halt, the local APICs' timers stop too, and no timer would end the halt (erratum 400). */
static bool may_have_c1e(void)
{
	uint32_t r[4], family;

	cpuid_count(1, 0, r);
	family = r[0] >> 8 & 15;
	if (family == 15)
		family += r[0] >> 20 & 255;
	return family >= 0xf && family <= 0x11 && has_msr(MSR_INT_PENDING);
}

static const char *firmware_problem(void)
{
	return svm_features.vm_cr ? vm_cr_problem(rdmsr(MSR_VM_CR)) : NULL;
}

/* CR4 bits that this CPU would let a guest set. */
static uint64_t possible_cr4(void)
{
	uint64_t bits = CR4_ALWAYS;
	uint32_t r[4];

	cpuid_count(1, 0, r);
	bits |= (r[2] & BIT(CPUID_1_PCID) ? CR4_PCIDE : 0) | (r[2] & BIT(CPUID_1_XSAVE) ? CR4_OSXSAVE : 0);
	cpuid_count(0, 0, r);
	if (r[0] < 7)
		return bits;
	cpuid_count(7, 0, r);
	bits |= (r[1] & BIT(CPUID_7_FSGSBASE) ? CR4_FSGSBASE : 0) | (r[1] & BIT(CPUID_7_SMEP) ? CR4_SMEP : 0);
	bits |= (r[1] & BIT(CPUID_7_SMAP) ? CR4_SMAP : 0);
	bits |= (r[2] & BIT(CPUID_7_UMIP) ? CR4_UMIP : 0) | (r[2] & BIT(CPUID_7_PKU) ? CR4_PKE : 0) | (r[2] & BIT(CPUID_7_LA57) ? CR4_LA57 : 0);
	bits |= (r[2] & BIT(CPUID_7_CET_SS) || r[3] & BIT(CPUID_7_CET_IBT) ? CR4_CET : 0) | (r[2] & BIT(CPUID_7_PKS) ? CR4_PKS : 0);
	return bits;
}

bool svm_present(void)
{
	return cpu_features.svm;
}

const char *svm_probe(void)
{
	struct svm_features *s = &svm_features;
	const struct cpu_features *f = &cpu_features;
	const char *problem;
	uint32_t r[4];

	s->vm_cr = has_msr(MSR_VM_CR); /* where VM_CR is missing, the firmware cannot have switched SVM off */
	s->c1e = may_have_c1e();
	problem = firmware_problem();
	if (problem)
		return problem;
	if (f->asids < 2)
		return "this CPU's AMD-V has no ASIDs for guests (CPUID 8000_000Ah, EBX)";
	s->asids = f->asids;
	s->clean = f->vmcb_clean ? CLEAN_ALL : 0;
	s->flush = f->flush_by_asid ? TLB_FLUSH_ASID : TLB_FLUSH_ALL;
	s->next_rip = f->nrip_save;
	s->decode_assists = f->decode_assists;
	s->cr4_possible = possible_cr4();
	cpuid_count(0x80000000, 0, r);
	if (r[0] >= 0x80000008) {
		cpuid_count(0x80000008, 0, r);
		s->rdpru = r[1] & BIT(CPUID_E8_RDPRU);
		s->mcommit = r[1] & BIT(CPUID_E8_MCOMMIT);
	}
	return NULL;
}

static uint8_t *host_vmcb(void)
{
	return (uint8_t *)this_cpu()->hw_page + PAGE_SIZE;
}

uint64_t svm_host_vmcb(void)
{
	return pool_phys(&lamina_pool, host_vmcb());
}

const char *svm_cpu_enable(void)
{
	/* Each core has a VM_CR of its own. */
	if (firmware_problem())
		return firmware_problem();
	if (svm_features.c1e && rdmsr(MSR_INT_PENDING) & INT_PENDING_C1E)
		wrmsr(MSR_INT_PENDING, rdmsr(MSR_INT_PENDING) & ~INT_PENDING_C1E);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, pool_phys(&lamina_pool, this_cpu()->hw_page));
	__asm__ volatile("vmsave" : : "a"(svm_host_vmcb()) : "memory");
	return NULL;
}
