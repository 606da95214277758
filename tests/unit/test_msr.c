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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_amd_tsc_counts_at_p0),
		cmocka_unit_test(test_debugctl),
		cmocka_unit_test(test_amd_interrupt_pending_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
