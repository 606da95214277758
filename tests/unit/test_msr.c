/* SOURCES: vmm/exits/msr.c */
/* MSRs that a guest reads and writes by exits: what each takes, what raises #GP, and what comes of it for the rest of the vCPU. */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/fakes.h"
#include "vmm/exits/msr.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/vm_vcpu.h"

static struct vm vm;
static struct vcpu vcpu;

static uint64_t regs[VCPU_REGISTERS];
static int64_t engine_offset;
static unsigned mode_looks, mmu_looks;

/* The local APIC and the paging, which record what they are asked. */
static uint64_t apic_base, deadline, apic_written;
static uint32_t apic_msr;
static bool refuse;
uint64_t lapic_base_msr(const struct lapic *l) { (void)l; return apic_base; }
uint64_t lapic_deadline_read(struct lapic *l) { (void)l; return deadline; }
void lapic_deadline_write(struct lapic *l, uint64_t value) { (void)l; deadline = value; }
int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value)
{
	(void)l;
	apic_msr = msr;
	*value = 0x77;
	return refuse ? ERR_INVALID : 0;
}
int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
	(void)l;
	apic_msr = msr;
	apic_written = value;
	return refuse ? ERR_INVALID : 0;
}
int lapic_set_base(struct lapic *l, uint64_t value)
{
	(void)l;
	if (refuse)
		return ERR_INVALID;
	apic_base = value;
	return 0;
}
void lapic_set_tsc_offset(struct lapic *l, int64_t offset) { l->tsc_offset = offset; }
void vcpu_apply_apic_mode(struct vcpu *v) { (void)v; mode_looks++; }
void virtual_mmu_update(struct vcpu *v) { (void)v; mmu_looks++; }

static uint64_t engine_read(struct vcpu *v, enum vcpu_register reg) { (void)v; return regs[reg]; }
static void engine_write(struct vcpu *v, enum vcpu_register reg, uint64_t value) { (void)v; regs[reg] = value; }
static void engine_tsc_offset(struct vcpu *v, int64_t offset) { (void)v; engine_offset = offset; }
static int engine_set_efer(struct vcpu *v, uint64_t value)
{
	(void)v;
	if (refuse)
		return ERR_INVALID;
	regs[VCPU_EFER] = value;
	return 0;
}
static const struct engine engine = {
	.read = engine_read, .write = engine_write, .tsc_offset = engine_tsc_offset, .set_efer = engine_set_efer,
};

static void build(const char *vendor)
{
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memcpy(&vm.cpuid.basic[0][CPUID_EBX], vendor, 4);
	vm.cpuid.extended[8][CPUID_EAX] = 40;
	memset(regs, 0, sizeof(regs));
	fake_reset();
	vm_attach_vcpu(&vm, &vcpu);
	vcpu.engine = &engine;
	msr_reset(&vm.msr, 40);
	engine_offset = 0;
	mode_looks = mmu_looks = 0;
	apic_base = deadline = apic_written = 0;
	apic_msr = 0;
	refuse = false;
}

/* Linux (bsp_init_amd) complains of the firmware where the invariant TSC does not count at P0's rate. */
static void test_amd_tsc_counts_at_p0(void **state)
{
	uint64_t value = 0;

	(void)state;
	build("AuthenticAMD");
	assert_int_equal(msr_read(&vcpu, 0xc0010015, &value), 0);
	assert_true(value & BIT(24));
}

/* Linux (arch_post_acpi_subsys_init) reads it on families 0fh and 10h without expecting #GP. */
static void test_amd_interrupt_pending_message(void **state)
{
	uint64_t value = 1;

	(void)state;
	build("AuthenticAMD");
	assert_int_equal(msr_read(&vcpu, 0xc0010055, &value), 0);
	assert_int_equal(value, 0);
	build("GenuineIntel");
	assert_int_equal(msr_read(&vcpu, 0xc0010055, &value), ERR_INVALID);
}

/* Linux steps by blocks with BTF, for debuggers (set_task_blockstep), and expects no #GP. */
static void test_debugctl(void **state)
{
	uint64_t value = 1;

	(void)state;
	build("GenuineIntel");
	assert_int_equal(msr_write(&vcpu, 0x1d9, 3), 0);
	assert_int_equal(msr_read(&vcpu, 0x1d9, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(msr_write(&vcpu, 0x1d9, 4), ERR_INVALID);
}

static uint64_t get(uint32_t msr)
{
	uint64_t value = 0x5a5a;

	assert_int_equal(msr_read(&vcpu, msr, &value), 0);
	return value;
}

static void set(uint32_t msr, uint64_t value)
{
	assert_int_equal(msr_write(&vcpu, msr, value), 0);
}

static void refused(uint32_t msr, uint64_t value)
{
	assert_int_equal(msr_write(&vcpu, msr, value), ERR_INVALID);
}

static void refused_entirely(uint32_t msr)
{
	uint64_t value;

	assert_int_equal(msr_read(&vcpu, msr, &value), ERR_INVALID);
	refused(msr, 0);
}

/* All RAM is write-back, and the upper gigabyte below 4 GiB uncached. */
static void test_mtrrs_at_reset(void **state)
{
	(void)state;
	build("GenuineIntel");
	assert_int_equal(get(0xfe), 8 | BIT(8) | BIT(10)); /* eight variable ranges, the fixed ones, write-combining */
	refused(0xfe, 0x508);
	assert_int_equal(get(0x2ff), 0xc06);
	assert_int_equal(get(0x200), 0xc0000000);
	assert_int_equal(get(0x201), 0xffc0000800);
	for (uint32_t msr = 0x202; msr <= 0x20f; msr++)
		assert_int_equal(get(msr), 0);
	assert_int_equal(get(0x250), 0x0606060606060606);
	assert_int_equal(get(0x26f), 0x0606060606060606);
}

static void test_fixed_mtrrs(void **state)
{
	static const uint32_t all[] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f };
	static const uint32_t none[] = { 0x210, 0x24f, 0x251, 0x257, 0x25a, 0x267, 0x270, 0x2fe, 0x300 };

	(void)state;
	build("GenuineIntel");
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		set(all[i], 0x0605040100060500 | (i & 1)); /* each its own place */
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		assert_int_equal(get(all[i]), 0x0605040100060500 | (i & 1));
	for (unsigned i = 0; i < ARRAY_SIZE(none); i++)
		refused_entirely(none[i]);
	set(0x250, 0);
	assert_int_equal(get(0x258), 0x0605040100060501);
	/* A type that does not exist, in any of the eight bytes. */
	for (unsigned i = 0; i < 8; i++)
		for (uint64_t type = 0; type < 256; type++) {
			bool exists = type == 0 || type == 1 || (type >= 4 && type <= 6);

			assert_int_equal(msr_write(&vcpu, 0x250, type << 8 * i), exists ? 0 : ERR_INVALID);
		}
	set(0x250, 6);
	refused(0x250, 0x0200000000000000);
	assert_int_equal(get(0x250), 6);
}

static void test_default_type(void **state)
{
	(void)state;
	build("GenuineIntel");
	set(0x2ff, 0);
	assert_int_equal(get(0x2ff), 0);
	set(0x2ff, 0xc01);
	assert_int_equal(get(0x2ff), 0xc01);
	for (unsigned bit = 8; bit < 64; bit++)
		if (bit != 10 && bit != 11)
			refused(0x2ff, BIT(bit));
	refused(0x2ff, 0xc02);
	refused(0x2ff, 7);
	assert_int_equal(get(0x2ff), 0xc01);
}

static void test_variable_mtrrs(void **state)
{
	(void)state;
	build("GenuineIntel");
	for (uint32_t msr = 0x200; msr <= 0x20f; msr += 2) {
		set(msr, (uint64_t)msr << 12 | 4);
		set(msr + 1, 0xfffffff000 | BIT(11));
	}
	for (uint32_t msr = 0x200; msr <= 0x20f; msr += 2) {
		assert_int_equal(get(msr), (uint64_t)msr << 12 | 4);
		assert_int_equal(get(msr + 1), 0xfffffff800);
	}
	/* Bits 11:8 of a base, 10:0 of a mask, and what lies above the physical addresses. */
	for (unsigned bit = 0; bit < 64; bit++) {
		bool base = bit == 0 || bit == 2 || (bit >= 12 && bit < 40), mask = bit >= 11 && bit < 40;

		assert_int_equal(msr_write(&vcpu, 0x204, BIT(bit)), base ? 0 : ERR_INVALID);
		assert_int_equal(msr_write(&vcpu, 0x205, BIT(bit)), mask ? 0 : ERR_INVALID);
	}
	set(0x204, 5);
	refused(0x204, 3);
	refused(0x204, 7);
	assert_int_equal(get(0x204), 5);
}

/* The MTRRs' types and UC-, which is 7. */
static void test_pat(void **state)
{
	(void)state;
	build("GenuineIntel");
	set(0x277, 0x0007040600070106);
	assert_int_equal(regs[VCPU_PAT], 0x0007040600070106);
	assert_int_equal(get(0x277), 0x0007040600070106);
	for (unsigned i = 0; i < 8; i++)
		for (uint64_t type = 0; type < 256; type++) {
			bool exists = type == 0 || type == 1 || (type >= 4 && type <= 7);

			assert_int_equal(msr_write(&vcpu, 0x277, type << 8 * i), exists ? 0 : ERR_INVALID);
		}
	set(0x277, 0x0505050505050505);
	refused(0x277, 0x0205050505050505);
	assert_int_equal(regs[VCPU_PAT], 0x0505050505050505);
}

/* SDM vol. 3, "IA32_TSC_ADJUST MSR": a write of either shows in both. */
static void test_tsc(void **state)
{
	(void)state;
	build("GenuineIntel");
	fake.now = 10000;
	vcpu.lapic.tsc_offset = -4000;
	assert_int_equal(get(0x10), 6000);
	set(0x10, 500);
	assert_int_equal(get(0x10), 500);
	assert_int_equal(engine_offset, -9500);
	assert_int_equal(vcpu.lapic.tsc_offset, -9500);
	assert_int_equal(get(0x3b), (uint64_t)-5500);
	set(0x10, 700);
	assert_int_equal(get(0x3b), (uint64_t)-5300);
	set(0x3b, 300);
	assert_int_equal(get(0x3b), 300);
	assert_int_equal(get(0x10), 6300);
	assert_int_equal(engine_offset, -3700);
}

static void test_local_apic(void **state)
{
	(void)state;
	build("GenuineIntel");
	set(0x1b, 0xfee00900);
	assert_int_equal(get(0x1b), 0xfee00900);
	assert_int_equal(mode_looks, 1);
	assert_int_equal(vcpu.pending, PENDING_EVALUATE);
	vcpu.pending = 0;
	set(0x80b, 0x1234);
	assert_int_equal(apic_msr, 0x80b);
	assert_int_equal(apic_written, 0x1234);
	assert_int_equal(vcpu.pending, PENDING_EVALUATE);
	assert_int_equal(get(0x8ff), 0x77);
	assert_int_equal(apic_msr, 0x8ff);
	assert_int_equal(get(0x800), 0x77);
	assert_int_equal(apic_msr, 0x800);
	refused_entirely(0x7ff);
	refused_entirely(0x900);
	set(0x6e0, 99);
	assert_int_equal(deadline, 99);
	assert_int_equal(get(0x6e0), 99);
	vcpu.pending = 0;
	refuse = true;
	refused(0x1b, 0);
	assert_int_equal(mode_looks, 1);
	assert_int_equal(vcpu.pending, 0);
	refused_entirely(0x80b);
}

static void test_efer(void **state)
{
	(void)state;
	build("GenuineIntel");
	set(0xc0000080, 0x901);
	assert_int_equal(get(0xc0000080), 0x901);
	assert_int_equal(mmu_looks, 1);
	refuse = true;
	refused(0xc0000080, 0);
	assert_int_equal(mmu_looks, 1);
}

/* The other vendor's MSRs do not exist. */
static void test_vendors(void **state)
{
	static const uint32_t intel[] = { 0x17, 0x3a, 0xce, 0x140, 0x1a0 }, amds[] = { 0xc0010010, 0xc0010015, 0xc001001f, 0xc0010055 };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(intel); i++) {
		build("GenuineIntel");
		assert_int_equal(get(intel[i]), intel[i] == 0x3a);
		build("AuthenticAMD");
		refused_entirely(intel[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(amds); i++) {
		build("AuthenticAMD");
		assert_int_equal(get(amds[i]), amds[i] == 0xc0010015 ? BIT(24) : 0);
		build("GenuineIntel");
		refused_entirely(amds[i]);
	}
	build("AuthenticAMD");
	assert_int_equal(get(0x8b), 0);
	set(0x8b, 5);
	set(0xc001001f, BIT(46));
	assert_int_equal(get(0xc001001f), 0);
	refused(0xc0010015, BIT(24));
	build("GenuineIntel");
	assert_int_equal(get(0x8b), 0);
	set(0x8b, 0);
	refused(0x3a, 1);
	refused(0xce, 0);
	set(0x140, 0);
	refused(0x140, 1);
}

static void test_machine_check_and_xss(void **state)
{
	uint64_t value;

	(void)state;
	build("GenuineIntel");
	assert_int_equal(get(0x179), 0);
	refused(0x179, 0);
	assert_int_equal(get(0x17a), 0);
	set(0x17a, 0);
	refused(0x17a, 4);
	assert_int_equal(msr_read(&vcpu, 0xda0, &value), ERR_INVALID);
	refused(0xda0, 0);
	vm.cpuid.xsave[1][CPUID_EAX] = BIT(3);
	assert_int_equal(get(0xda0), 0);
	set(0xda0, 0);
	refused(0xda0, 1);
	refused_entirely(0);
	refused_entirely(0xc0000084);
	refused_entirely(0xffffffff);
}

static void test_misc_enable(void **state)
{
	(void)state;
	build("GenuineIntel");
	vcpu.misc_enable = 0x1801;
	assert_int_equal(get(0x1a0), 0x1801);
	set(0x1a0, 0x1800);
	assert_int_equal(get(0x1a0), 0x1800);
	refused(0x1a0, 0x1000);
	refused(0x1a0, 0x0800);
	assert_int_equal(get(0x1a0), 0x1800);
}

/* What systems read without asking, as a CPU of that vendor has it: a value, whether a write is taken (it changes nothing), on AMD's families from
 * 0fh to `family_max`. */
static void test_amd_constants(void **state)
{
	static const struct { uint32_t msr; bool writable; unsigned family_max; uint64_t value; } rows[] = {
		{ 0xc0010000, true, 0x1a, 0 }, { 0xc0010003, true, 0x1a, 0 }, { 0xc0010004, true, 0x1a, 0 }, { 0xc0010007, true, 0x1a, 0 },
		{ 0xc0010010, false, 0x1a, 0 }, { 0xc0010015, false, 0x1a, BIT(24) }, { 0xc001001f, true, 0x1a, 0 },
		{ 0xc0010044, true, 0x1a, 0 }, { 0xc0010049, true, 0x1a, 0 }, { 0xc0010055, false, 0x1a, 0 },
		{ 0xc0011020, true, 0x11, 0 }, { 0xc0011021, true, 0x11, 0 }, { 0xc0011022, true, 0x11, 0 }, { 0xc0011023, true, 0x11, 0 },
		{ 0xc0011029, true, 0x1a, BIT(1) },
		/* Beside them, and those that CPUID's PerfCtrExtCore would announce. */
		{ 0xc0010008, false, 0, 0 }, { 0xc000ffff, false, 0, 0 }, { 0xc001004a, false, 0, 0 }, { 0xc0010043, false, 0, 0 },
		{ 0xc0010200, false, 0, 0 }, { 0xc001020b, false, 0, 0 }, { 0xc0011028, false, 0, 0 }, { 0xc001102a, false, 0, 0 },
	};
	static const struct { uint32_t signature; unsigned family; } cpus[] = {
		{ 0x00000f50, 0xf }, { 0x00100f42, 0x10 }, { 0x00200f30, 0x11 }, { 0x00300f10, 0x12 }, { 0x00600f20, 0x15 }, { 0x00b40f40, 0x1a },
	};

	(void)state;
	for (unsigned c = 0; c < ARRAY_SIZE(cpus); c++) {
		build("AuthenticAMD");
		vm.cpuid.basic[1][CPUID_EAX] = cpus[c].signature;
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			bool there = cpus[c].family <= rows[i].family_max;

			for (unsigned round = 0; round < 2; round++) { /* before and after a write */
				uint64_t value = 99;

				assert_int_equal(msr_read(&vcpu, rows[i].msr, &value), there ? 0 : ERR_INVALID);
				if (there)
					assert_int_equal(value, rows[i].value);
				assert_int_equal(msr_write(&vcpu, rows[i].msr, 0x4200ff), there && rows[i].writable ? 0 : ERR_INVALID);
			}
		}
	}
	build("GenuineIntel");
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t value;

		assert_int_equal(msr_read(&vcpu, rows[i].msr, &value), ERR_INVALID);
		assert_int_equal(msr_write(&vcpu, rows[i].msr, 0), ERR_INVALID);
	}
}

/* Intel's counters, and their MSRs, are there where CPUID's leaf 0xa says so. */
static void test_counters(void **state)
{
	static const uint32_t intel[] = { 0xc1, 0xc4, 0x186, 0x187, 0x309, 0x38d, 0x38e, 0x38f, 0x390, 0x4c1 };
	static const char *const vendors[] = { "GenuineIntel", "AuthenticAMD" };
	uint64_t value;

	(void)state;
	for (unsigned amd = 0; amd < 2; amd++) {
		build(vendors[amd]);
		for (unsigned i = 0; i < ARRAY_SIZE(intel); i++) {
			assert_int_equal(msr_read(&vcpu, intel[i], &value), ERR_INVALID);
			assert_int_equal(msr_write(&vcpu, intel[i], 0), ERR_INVALID);
		}
		for (uint32_t counter = 0; counter < 8; counter++) {
			value = 99;
			assert_int_equal(msr_read_counter(&vcpu, counter, &value), amd && counter < 4 ? 0 : ERR_INVALID);
			assert_int_equal(value, 0);
		}
		assert_int_equal(msr_read_counter(&vcpu, 0x40000000, &value), ERR_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_amd_tsc_counts_at_p0),
		cmocka_unit_test(test_debugctl),
		cmocka_unit_test(test_amd_constants),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_amd_interrupt_pending_message),
		cmocka_unit_test(test_mtrrs_at_reset),
		cmocka_unit_test(test_fixed_mtrrs),
		cmocka_unit_test(test_default_type),
		cmocka_unit_test(test_variable_mtrrs),
		cmocka_unit_test(test_pat),
		cmocka_unit_test(test_tsc),
		cmocka_unit_test(test_local_apic),
		cmocka_unit_test(test_efer),
		cmocka_unit_test(test_vendors),
		cmocka_unit_test(test_machine_check_and_xss),
		cmocka_unit_test(test_misc_enable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
