/* CPU features are read from CPUID and from VT-x's capability MSRs, and reported in the log, one line each. */
#include "arch/x86_64/features.h"

#include "arch/x86_64/asm.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/cpuid.h"
#include "lib/x86/msr.h"
#include "lib/x86/vmx.h"
#include "vmm/exits/cpuid_bits.h"

struct cpu_features cpu_features;

static bool allowed(uint64_t capability, uint64_t control)
{
	return capability >> 32 & control;
}

static void detect_vmx(struct cpu_features *f)
{
	uint64_t basic = rdmsr(MSR_VMX_BASIC);
	uint64_t pin = rdmsr(basic & VMX_BASIC_TRUE_CONTROLS ? MSR_VMX_TRUE_PINBASED_CTLS : MSR_VMX_PINBASED_CTLS);
	uint64_t proc = rdmsr(basic & VMX_BASIC_TRUE_CONTROLS ? MSR_VMX_TRUE_PROCBASED_CTLS : MSR_VMX_PROCBASED_CTLS);
	uint64_t proc2, ept;

	f->preemption_timer = allowed(pin, PIN_PREEMPTION_TIMER);
	f->posted_interrupts = allowed(pin, PIN_POSTED_INTERRUPTS);
	f->tpr_shadow = allowed(proc, PROC_TPR_SHADOW);
	if (!allowed(proc, PROC_SECONDARY))
		return;
	proc2 = rdmsr(MSR_VMX_PROCBASED_CTLS2);
	f->virtualize_apic_accesses = allowed(proc2, PROC2_APIC_ACCESSES);
	f->ept = allowed(proc2, PROC2_EPT);
	f->virtualize_x2apic = allowed(proc2, PROC2_X2APIC_MODE);
	f->vpid = allowed(proc2, PROC2_VPID);
	f->unrestricted_guest = allowed(proc2, PROC2_UNRESTRICTED);
	f->apic_register_virtualization = allowed(proc2, PROC2_APIC_REGISTERS);
	f->virtual_interrupt_delivery = allowed(proc2, PROC2_INTERRUPT_DELIVERY);
	f->pml = allowed(proc2, PROC2_PML);
	if (!f->ept && !f->vpid)
		return;
	ept = rdmsr(MSR_VMX_EPT_VPID_CAP);
	f->ept_execute_only = ept & EPT_CAP_EXECUTE_ONLY;
	f->ept_2m = ept & EPT_CAP_2M;
	f->ept_1g = ept & EPT_CAP_1G;
	f->ept_ad = ept & EPT_CAP_AD;
}

/* APM vol. 3, appendix E, leaf 8000_000Ah. */
static void detect_svm(struct cpu_features *f)
{
	uint32_t r[4];

	cpuid_count(0x8000000a, 0, r);
	f->asids = r[1];
	f->npt = r[3] & BIT(CPUID_EA_NPT);
	f->nrip_save = r[3] & BIT(CPUID_EA_NRIP_SAVE);
	f->vmcb_clean = r[3] & BIT(CPUID_EA_VMCB_CLEAN);
	f->flush_by_asid = r[3] & BIT(CPUID_EA_FLUSH_BY_ASID);
	f->decode_assists = r[3] & BIT(CPUID_EA_DECODE_ASSISTS);
	f->pause_filter = r[3] & BIT(CPUID_EA_PAUSE_FILTER);
	f->avic = r[3] & BIT(CPUID_EA_AVIC);
	f->vgif = r[3] & BIT(CPUID_EA_VGIF);
}

static void detect_names(struct cpu_features *f, uint32_t max_extended)
{
	uint32_t r[4];

	cpuid_count(0, 0, r);
	memcpy(f->vendor, &r[1], 4);
	memcpy(f->vendor + 4, &r[3], 4);
	memcpy(f->vendor + 8, &r[2], 4);
	if (max_extended < 0x80000004)
		return;
	for (uint32_t i = 0; i < 3; i++) {
		cpuid_count(0x80000002 + i, 0, r);
		memcpy(f->brand + 16UL * i, r, 16);
	}
}

void features_detect(void)
{
	struct cpu_features *f = &cpu_features;
	uint32_t r[4], max, max_extended;

	cpuid_count(0x80000000, 0, r);
	max_extended = r[0];
	detect_names(f, max_extended);
	cpuid_count(0, 0, r);
	max = r[0];

	cpuid_count(1, 0, r);
	f->vmx = r[2] & BIT(CPUID_1_VMX);
	f->pcid = r[2] & BIT(CPUID_1_PCID);
	f->x2apic = r[2] & BIT(CPUID_1_X2APIC);
	f->tsc_deadline = r[2] & BIT(CPUID_1_TSC_DEADLINE);
	f->aes = r[2] & BIT(CPUID_1_AES);
	f->xsave = r[2] & BIT(CPUID_1_XSAVE);
	f->rdrand = r[2] & BIT(CPUID_1_RDRAND);
	if (max >= 7) {
		cpuid_count(7, 0, r);
		f->fsgsbase = r[1] & BIT(CPUID_7_FSGSBASE);
		f->avx2 = r[1] & BIT(CPUID_7_AVX2);
		f->smep = r[1] & BIT(CPUID_7_SMEP);
		f->invpcid = r[1] & BIT(CPUID_7_INVPCID);
		f->avx512f = r[1] & BIT(CPUID_7_AVX512F);
		f->smap = r[1] & BIT(CPUID_7_SMAP);
		f->umip = r[2] & BIT(CPUID_7_UMIP);
		f->waitpkg = r[2] & BIT(CPUID_7_WAITPKG);
	}
	if (f->xsave && max >= 0xd) {
		cpuid_count(0xd, 0, r);
		f->xcr0 = (uint64_t)r[3] << 32 | r[0];
		f->xsave_size = r[2];
		cpuid_count(0xd, 1, r);
		f->xsaves = r[0] & BIT(CPUID_D_1_XSAVES);
	}
	/* Some emulators report XSAVE with leaf 0xd empty: without its sizes it cannot be used. */
	if (!(f->xcr0 & 1) || f->xsave_size < 576)
		f->xsave = f->xsaves = false;
	f->phys_bits = 36;
	if (max_extended >= 0x80000001) {
		cpuid_count(0x80000001, 0, r);
		f->svm = r[2] & BIT(CPUID_E1_SVM);
		f->page_1g = r[3] & BIT(CPUID_E1_PAGE1GB);
		f->rdtscp = r[3] & BIT(CPUID_E1_RDTSCP);
	}
	if (max_extended >= 0x80000007) {
		cpuid_count(0x80000007, 0, r);
		f->invariant_tsc = r[3] & BIT(CPUID_E7_INVARIANT_TSC);
	}
	if (max_extended >= 0x80000008) {
		cpuid_count(0x80000008, 0, r);
		f->phys_bits = r[0] & 0xff;
	}
	if (f->vmx)
		detect_vmx(f);
	if (f->svm && max_extended >= 0x8000000a)
		detect_svm(f);
}

static void report(const char *name, bool present, const char *use)
{
	log_line("cpu: %-26s: %-3s %s", name, present ? "yes" : "no", use);
}

static void report_vmx(const struct cpu_features *f, bool dmar)
{
	bool apic = f->tpr_shadow && f->virtualize_apic_accesses && f->apic_register_virtualization && f->virtual_interrupt_delivery;

	report("VT-x", f->vmx, "(runs the guests' instructions)");
	report("EPT", f->ept, "(nested paging: maps the guests' memory)");
	report("EPT 1 GiB pages", f->ept_1g, "(fewest levels to walk for guest memory)");
	report("EPT A/D bits", f->ept_ad, "(switched on in the EPT pointer)");
	report("VPID", f->vpid, "(translations survive exits)");
	report("unrestricted guest", f->unrestricted_guest, "(real mode and unpaged guests run directly)");
	report("APIC virtualization", apic, "(interrupt delivery and EOI without exits)");
	report("posted interrupts", f->posted_interrupts, "(not used)");
	report("preemption timer", f->preemption_timer, "(bounds the time without an exit)");
	report("PML", f->pml, "(not used)");
	report("VT-d", dmar, dmar ? "(a DMAR table is there; not used, off)" : "(no DMAR table)");
}

static void report_svm(const struct cpu_features *f, bool ivrs)
{
	report("AMD-V", f->svm, "(runs the guests' instructions)");
	report("RVI", f->npt, "(nested paging: maps the guests' memory)");
	report("RVI 1 GiB pages", f->npt && f->page_1g, "(fewest levels to walk for guest memory)");
	log_line("cpu: %-26s: %-3u %s", "ASIDs", f->asids, "(translations survive exits)");
	report("NRIP save", f->nrip_save, f->nrip_save ? "(ends of instructions without decoding)" : "(instructions are decoded)");
	report("decode assists", f->decode_assists, "(operands of MOV CR without decoding)");
	report("flush by ASID", f->flush_by_asid, "(a guest's flush leaves the others' translations)");
	report("VMCB clean bits", f->vmcb_clean, "(entries reload only what changed)");
	report("pause filter", f->pause_filter, "(not used)");
	report("AVIC", f->avic, "(not used)");
	report("virtual GIF", f->vgif, "(not used)");
	report("IOMMU", ivrs, ivrs ? "(an IVRS table is there; not used, off)" : "(no IVRS table)");
}

void features_report(bool dmar, bool ivrs)
{
	const struct cpu_features *f = &cpu_features;

	log_line("cpu: %s, %s, %u physical address bits", f->vendor, f->brand[0] ? f->brand : "no brand string", f->phys_bits);
	if (f->svm)
		report_svm(f, ivrs);
	else
		report_vmx(f, dmar);
	report("AVX2", f->avx2, "(offered to guests where XSAVE is)");
	report("AVX-512", f->avx512f, "(offered to guests where XSAVE is)");
	report("AES-NI", f->aes, "(offered to guests)");
}
