/* SOURCES: vmm/exits/exit_mmio.c vmm/vcpu/vcpu_emulator.c vmm/emulate/code_memory.c vmm/emulate/emulate.c vmm/emulate/access.c vmm/emulate/alu.c vmm/emulate/string.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_memory.c vmm/memory/guest_walk.c */
/* With shadow paging: a guest's page that was a page table (a dead process's root, say) and is used for something else. Its first write need not
 * be one that the emulator knows, nor an instruction's. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/segment.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/exit.h"
#include "vmm/exits/handlers.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/vcpu_emulator.h"
#include "vmm/vm/vm_vcpu.h"

static struct vm vm;
static struct vcpu v;
static struct shadow_vcpu sv;
static struct shadow_mmu mmu;
static _Alignas(4096) uint8_t ram[0x10000];
static unsigned given_up;

static void context(struct vcpu *of, struct vcpu_context *c)
{
	(void)of;
	*c = (struct vcpu_context){ .rip = 0x100, .rsp = 0x3000, .rflags = 2, .cr0 = 0x10001,
					.cs_access = SEGMENT_CODE_32, .ss_access = SEGMENT_DATA_32 };
}
static void segment(struct vcpu *of, enum segment_register seg, struct segment_state *s)
{
	(void)of;
	*s = (struct segment_state){ 8, 0xffffffff, seg == SEG_CS ? SEGMENT_CODE_32 : SEGMENT_DATA_32, 0 };
}
static void write_reg_(struct vcpu *of, enum vcpu_register reg, uint64_t value) { (void)of; (void)reg; (void)value; }
static uint64_t read_reg_(struct vcpu *of, enum vcpu_register reg) { (void)of; (void)reg; return 0; }
static const struct engine engine = { .read_context = context, .read_segment = segment, .write = write_reg_, .read = read_reg_ };

bool shadow_rewritten(struct shadow_mmu *m, uint64_t gpa)
{
	(void)m;
	assert_int_equal(gpa & PAGE_MASK, 0x2000);
	given_up++;
	return true; /* no vCPU has it as root */
}
void virtual_mmu_written(struct vcpu *of, uint64_t gpa, unsigned size) { (void)of; (void)gpa; (void)size; }
uint64_t lapic_mmio_read(struct lapic *l, unsigned offset, unsigned size) { (void)l; (void)offset; (void)size; return 0; }
void lapic_mmio_write(struct lapic *l, unsigned offset, unsigned size, uint64_t value) { (void)l; (void)offset; (void)size; (void)value; }
uint64_t io_space_read(struct io_space *space, uint64_t addr, unsigned size) { (void)space; (void)addr; (void)size; return 0; }
void io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value) { (void)space; (void)addr; (void)size; (void)value; }
void vcpu_inject_exception(struct vcpu *of, uint8_t vector, uint32_t error) { (void)of; (void)vector; (void)error; fail(); }
int vcpu_read_pdptes(struct vcpu *of, uint64_t cr3, uint64_t pdpte[4]) { (void)of; (void)cr3; (void)pdpte; return 0; }
void exit_turn_is_over(struct vcpu *of) { (void)of; }

static int setup(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	memset(ram, 0, sizeof(ram));
	given_up = 0;
	assert_int_equal(guest_memory_add(&vm.memory, 0, sizeof(ram), ram), 0);
	vm.shadow = &mmu;
	sv.paging.cr0 = 0x10001;
	v.shadow = &sv;
	vm.engine = &engine;
	vm_attach_vcpu(&vm, &v);
	vcpu_emulator_init(&v);
	v.gpr[GPR_RBX] = 0x2000;
	return 0;
}

static struct vm_exit write_fault(void)
{
	return (struct vm_exit){ .fault = { .gpa = 0x2000, .access = ACCESS_WRITE, .translated = true } };
}

static void test_sse(void **state)
{
	struct vm_exit exit = write_fault();

	(void)state;
	memcpy(ram + 0x100, "\x0f\x11\x03", 3); /* movups %xmm0, (%ebx) */
	assert_int_equal(handle_nested_fault(&v, &exit), VERDICT_RESUME);
	assert_int_equal(given_up, 1);
}

static void test_push(void **state)
{
	struct vm_exit exit = write_fault();

	(void)state;
	ram[0x100] = 0x50; /* push %eax */
	assert_int_equal(handle_nested_fault(&v, &exit), VERDICT_RESUME);
}

static void test_interrupt_frame(void **state)
{
	struct vm_exit exit = write_fault();

	(void)state;
	exit.fault.vectoring = true;
	assert_int_equal(handle_nested_fault(&v, &exit), VERDICT_RESUME);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_sse, setup),
		cmocka_unit_test_setup(test_push, setup),
		cmocka_unit_test_setup(test_interrupt_frame, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
