/* The exits of instructions on control registers but CR3, which only shadow paging has (vmm/mmu/cr3_exits.c). */
#include "lib/x86/registers.h"
#include "vmm/emulate/access.h"
#include "vmm/exits/exit_instruction.h"
#include "vmm/exits/handlers.h"
#include "vmm/interface/platform.h"
#include "vmm/mmu/cr3_exits.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/real_mode.h"

int exit_write_cr(struct vcpu *v, unsigned cr, uint64_t value)
{
	int refused;

	switch (cr) {
	case 3:
		return cr3_write(v, value);
	case 8:
		if (value > 15)
			return ERR_INVALID;
		lapic_set_cr8(&v->lapic, value);
		vcpu_look_again(v, PENDING_EVALUATE);
		return 0;
	default:
		refused = cr ? v->engine->set_cr4(v, value) : v->engine->set_cr0(v, value);
		if (refused)
			return refused;
		virtual_mmu_update(v);
		if (!cr)
			real_mode_check(v);
		return 0;
	}
}

enum verdict handle_cr_write(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t value = vcpu_read_gpr(v, exit->cr.gpr);

	if (__builtin_expect(value >> 32 != 0, 0)) {
		struct vcpu_context context;

		v->engine->read_context(v, &context);
		if (!vcpu_in_64bit_code(&context))
			value = (uint32_t)value;
	}
	if (exit->cr.cr != 0 && exit->cr.cr != 4 && exit->cr.cr != 8) {
		vm_request(v->vm, VM_REQUEST_STOP, "write of a control register that should not exit");
		return VERDICT_STOP;
	}
	return exit_write_cr(v, exit->cr.cr, value) ? general_protection(v) : VERDICT_ADVANCE;
}

enum verdict handle_cr_read(struct vcpu *v, struct vm_exit *exit)
{
	if (exit->cr.cr == 4) {
		vcpu_write_gpr(v, exit->cr.gpr, vcpu_read(v, VCPU_CR4));
		return VERDICT_ADVANCE;
	}
	if (exit->cr.cr == 0) {
		vcpu_write_gpr(v, exit->cr.gpr, vcpu_read(v, VCPU_CR0));
		return VERDICT_ADVANCE;
	}
	if (exit->cr.cr != 8) {
		vm_request(v->vm, VM_REQUEST_STOP, "read of a control register that should not exit");
		return VERDICT_STOP;
	}
	vcpu_write_gpr(v, exit->cr.gpr, lapic_cr8(&v->lapic));
	return VERDICT_ADVANCE;
}

static enum verdict write_cr0(struct vcpu *v, uint64_t value)
{
	return exit_write_cr(v, 0, value) ? general_protection(v) : VERDICT_ADVANCE;
}

enum verdict handle_clts(struct vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	return write_cr0(v, vcpu_read(v, VCPU_CR0) & ~CR0_TS);
}

/* It loads PE, MP, EM and TS, but does not clear PE (SDM vol. 2, "LMSW"). */
enum verdict handle_lmsw(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t cr0 = vcpu_read(v, VCPU_CR0), operand = exit->cr.value;

	if (exit->cr.operand == MSW_GPR)
		operand = vcpu_read_gpr(v, exit->cr.gpr);
	else if (exit->cr.operand == MSW_MEMORY && exit_operand(v, exit->cr.insn, 2, &operand))
		return VERDICT_RESUME;
	return write_cr0(v, (cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (operand & (CR0_PE | CR0_MP | CR0_EM | CR0_TS)));
}

/* A word of memory, or a register of any size (SDM vol. 2, "SMSW"). */
enum verdict handle_smsw(struct vcpu *v, struct vm_exit *exit)
{
	uint64_t cr0 = vcpu_read(v, VCPU_CR0), gpr;

	if (exit->cr.operand == MSW_MEMORY)
		return exit_operand_write(v, exit->cr.insn, 2, cr0) ? VERDICT_RESUME : VERDICT_ADVANCE;
	gpr = vcpu_read_gpr(v, exit->cr.gpr);
	write_gpr(&gpr, exit->cr.size, cr0);
	vcpu_write_gpr(v, exit->cr.gpr, gpr);
	return VERDICT_ADVANCE;
}
