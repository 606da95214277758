/* SOURCES: vmm/exits/msr.c */
/* MSRs that systems use without looking for them first. */
#include "tests/unit/unit.h"

#include <string.h>

#include "tests/unit/fakes.h"
#include "vmm/exits/msr.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vm/vm_vcpu.h"

static struct vm vm;
static struct vcpu vcpu;

/* The local APIC's are not looked at here. */
uint64_t lapic_base_msr(const struct lapic *l) { (void)l; return 0; }
uint64_t lapic_deadline_read(struct lapic *l) { (void)l; return 0; }
void lapic_deadline_write(struct lapic *l, uint64_t value) { (void)l; (void)value; }
int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value) { (void)l; (void)msr; (void)value; return ERR_INVALID; }
int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value) { (void)l; (void)msr; (void)value; return ERR_INVALID; }
int lapic_set_base(struct lapic *l, uint64_t value) { (void)l; (void)value; return ERR_INVALID; }
void lapic_set_tsc_offset(struct lapic *l, int64_t offset) { l->tsc_offset = offset; }
void vcpu_apply_apic_mode(struct vcpu *v) { (void)v; }
void virtual_mmu_update(struct vcpu *v) { (void)v; }

static void build(const char *vendor)
{
	memset(&vm, 0, sizeof(vm));
	memset(&vcpu, 0, sizeof(vcpu));
	memcpy(&vm.cpuid.basic[0][CPUID_EBX], vendor, 4);
	vm.cpuid.extended[8][CPUID_EAX] = 40;
	vm_attach_vcpu(&vm, &vcpu);
	msr_reset(&vm.msr, 40);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
