#include "arch/x86_64/features.h"

#include "arch/x86_64/asm.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/x86/msr.h"

struct cpu_features cpu_features;

static bool allowed(uint64_t capability, unsigned bit)
{
	return capability >> 32 & BIT(bit);
}

static void detect_vmx(struct cpu_features *f)
{
	uint64_t basic = rdmsr(MSR_VMX_BASIC);
	uint64_t pin = rdmsr(basic & BIT(55) ? MSR_VMX_TRUE_PINBASED_CTLS : MSR_VMX_PINBASED_CTLS);
	uint64_t proc = rdmsr(basic & BIT(55) ? MSR_VMX_TRUE_PROCBASED_CTLS : MSR_VMX_PROCBASED_CTLS);
	uint64_t proc2, ept;

	f->preemption_timer = allowed(pin, 6);
	f->posted_interrupts = allowed(pin, 7);
	f->tpr_shadow = allowed(proc, 21);
	if (!allowed(proc, 31))
		return;
	proc2 = rdmsr(MSR_VMX_PROCBASED_CTLS2);
	f->virtualize_apic_accesses = allowed(proc2, 0);
	f->ept = allowed(proc2, 1);
	f->virtualize_x2apic = allowed(proc2, 4);
	f->vpid = allowed(proc2, 5);
	f->unrestricted_guest = allowed(proc2, 7);
	f->apic_register_virtualization = allowed(proc2, 8);
	f->virtual_interrupt_delivery = allowed(proc2, 9);
	f->pml = allowed(proc2, 17);
	if (!f->ept && !f->vpid)
		return;
	ept = rdmsr(MSR_VMX_EPT_VPID_CAP);
	f->ept_execute_only = ept & BIT(0);
	f->ept_2m = ept & BIT(16);
	f->ept_1g = ept & BIT(17);
	f->ept_ad = ept & BIT(21);
}

/* APM vol. 3, appendix E, leaf 8000_000Ah. */
static void detect_svm(struct cpu_features *f)
{
	uint32_t r[4];

	cpuid_count(0x8000000a, 0, r);
	f->asids = r[1];
	f->npt = r[3] & BIT(0);
	f->nrip_save = r[3] & BIT(3);
	f->vmcb_clean = r[3] & BIT(5);
	f->flush_by_asid = r[3] & BIT(6);
	f->decode_assists = r[3] & BIT(7);
	f->pause_filter = r[3] & BIT(10);
	f->avic = r[3] & BIT(13);
	f->vgif = r[3] & BIT(16);
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
	f->vmx = r[2] & BIT(5);
	f->pcid = r[2] & BIT(17);
	f->x2apic = r[2] & BIT(21);
	f->tsc_deadline = r[2] & BIT(24);
	f->aes = r[2] & BIT(25);
	f->xsave = r[2] & BIT(26);
	f->rdrand = r[2] & BIT(30);
	if (max >= 7) {
		cpuid_count(7, 0, r);
		f->fsgsbase = r[1] & BIT(0);
		f->avx2 = r[1] & BIT(5);
		f->smep = r[1] & BIT(7);
		f->invpcid = r[1] & BIT(10);
		f->avx512f = r[1] & BIT(16);
		f->smap = r[1] & BIT(20);
		f->umip = r[2] & BIT(2);
		f->waitpkg = r[2] & BIT(5);
	}
	if (f->xsave && max >= 0xd) {
		cpuid_count(0xd, 0, r);
		f->xcr0 = (uint64_t)r[3] << 32 | r[0];
		f->xsave_size = r[2];
		cpuid_count(0xd, 1, r);
		f->xsaves = r[0] & BIT(3);
	}
	/* Some emulators report XSAVE with leaf 0xd empty: without its sizes it cannot be used. */
	if (!(f->xcr0 & 1) || f->xsave_size < 576)
		f->xsave = f->xsaves = false;
	f->phys_bits = 36;
	if (max_extended >= 0x80000001) {
		cpuid_count(0x80000001, 0, r);
		f->svm = r[2] & BIT(2);
		f->page_1g = r[3] & BIT(26);
		f->rdtscp = r[3] & BIT(27);
	}
	if (max_extended >= 0x80000007) {
		cpuid_count(0x80000007, 0, r);
		f->invariant_tsc = r[3] & BIT(8);
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
	report("VT-d", dmar, dmar ? "(a DMAR table is there; not used)" : "(no DMAR table)");
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
	report("IOMMU", ivrs, ivrs ? "(an IVRS table is there; not used)" : "(no IVRS table)");
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
