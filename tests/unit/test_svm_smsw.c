/* SOURCES: arch/x86_64/svm/svm_exit.c vmm/emulate/code_memory.c */
/* While an AMD-V exit is decoded the vCPU still counts as in the guest: one that waits there for a lock (the shadow MMU's, a device's) waits for
 * another vCPU that waits for it to leave the guest (kick() in vmm/mmu/virtual_mmu.c). */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/svm.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/exit.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/vm/vm.h"

struct svm_features svm_features;

static struct vm vm;
static struct vcpu v;
static struct svm_vcpu x;
static struct insn insn;
static unsigned touched;

uint64_t svm_read(struct vcpu *of, enum vcpu_register reg) { (void)of; (void)reg; return 0x80000011; }
void svm_advance(struct vcpu *of, unsigned length) { (void)of; (void)length; }
void svm_requeue(struct vcpu *of) { (void)of; }
void svm_virtual_changed(struct vcpu *of) { (void)of; }
void svm_iret(struct vcpu *of) { (void)of; }
bool svm_step_done(struct vcpu *of) { (void)of; return false; }
void svm_explain_entry_failure(struct vcpu *of) { (void)of; }
uint64_t vcpu_read_gpr(struct vcpu *of, unsigned gpr) { return of->gpr[gpr]; }
uint64_t exit_operand_linear(struct vcpu *of, const struct insn *i) { (void)of; (void)i; return 0; }
int guest_walk(const struct guest_memory *mem, const struct guest_paging *paging, uint64_t linear, unsigned access, uint64_t *gpa,
	       uint32_t *pf_error, uint64_t *page_size)
{
	(void)mem; (void)paging; (void)linear; (void)access; (void)gpa; (void)pf_error; (void)page_size;
	return ERR_NOENT;
}
void *guest_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len) { (void)mem; (void)gpa; (void)len; return NULL; }
const struct insn *exit_instruction(struct vcpu *of, struct insn_memo *memo, uint64_t space) { (void)of; (void)memo; (void)space; return &insn; }

/* These two go to RAM (and then to shadow_written(), which takes the MMU's lock) or to a device (and take its lock). */
int exit_operand(struct vcpu *of, const struct insn *i, unsigned size, uint64_t *value)
{
	(void)i; (void)size;
	touched++;
	assert_false(of->in_guest);
	*value = 0x11;
	return 0;
}
int exit_operand_write(struct vcpu *of, const struct insn *i, unsigned size, uint64_t value)
{
	(void)i; (void)size; (void)value;
	touched++;
	assert_false(of->in_guest);
	return 0;
}
bool vcpu_exit(struct vcpu *of) { of->in_guest = false; return true; }

static void run(unsigned code, unsigned group)
{
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	memset(&x, 0, sizeof(x));
	memset(&insn, 0, sizeof(insn));
	v.vm = &vm;
	v.hw = &x;
	code_memory_init(&v.emulator.code);
	v.shadow = (void *)&v; /* there is one */
	v.kickable = v.in_guest = true;
	insn.map = MAP_0F;
	insn.opcode = 0x01;
	insn.modrm = (uint8_t)(group << 3);
	insn.flags = INSN_MEM;
	insn.operand_size = 2;
	x.vmcb.exit_code = code;
	touched = 0;
	assert_true(svm_handle_exit(&v, &x));
	assert_int_equal(touched, 1);
}

static void test_smsw(void **state) { (void)state; run(0x00, 4); }
static void test_lmsw(void **state) { (void)state; run(0x65, 6); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smsw),
		cmocka_unit_test(test_lmsw),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
