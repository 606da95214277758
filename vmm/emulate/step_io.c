/* IN, OUT, INS and OUTS, with the check of the TSS's I/O permission bitmap. */
#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "vmm/emulate/step_parts.h"

/* The TSS's word that says where its I/O permission bitmap is (SDM vol. 1, "I/O Permission Bit Map"). */
#define TSS_IO_MAP 102

/* May the guest's present level use these ports? Returns EMULATE_CONTINUE or a verdict. */
static int check_ports(struct execution *x, unsigned port, unsigned size)
{
	struct emulator *e = x->e;
	const struct segment_state *tr;
	uint64_t map, bits;
	int verdict;

	if (!(e->paging.cr0 & CR0_PE) || (!v86_mode(e) && cpl(e) <= iopl(e)))
		return EMULATE_CONTINUE;
	tr = segment_of(e, SEG_TR);
	if ((tr->access & SEGMENT_UNUSABLE) || !(tr->access & 8) || tr->limit < TSS_IO_MAP + 1)
		return general_protection(x, 0);
	verdict = system_read(x, tr->base + TSS_IO_MAP, 2, &map);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	/* Two bytes are read whatever the port, so both must be inside. */
	if (map + port / 8 + 1 > tr->limit)
		return general_protection(x, 0);
	verdict = system_read(x, tr->base + map + port / 8, 2, &bits);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (bits >> (port & 7) & ((1U << size) - 1))
		return general_protection(x, 0);
	return EMULATE_CONTINUE;
}

/* E4..E7, EC..EF */
int step_in_out(struct execution *x)
{
	const struct insn *insn = x->insn;
	struct emulator *e = x->e;
	unsigned size = MIN(insn->operand_size, 4U);
	uint16_t port = insn->opcode & 8 ? (uint16_t)e->gpr[REG_RDX] : insn->imm & 0xff;
	int verdict = check_ports(x, port, size);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (insn->opcode & 2)
		e->port_write(e->ctx, port, size, (uint32_t)(e->gpr[REG_RAX] & size_mask(size)));
	else
		write_gpr(&e->gpr[REG_RAX], size, e->port_read(e->ctx, port, size));
	return done(x);
}

/* 6C..6F */
int step_ins_outs(struct execution *x)
{
	const struct insn *insn = x->insn;
	struct emulator *e = x->e;
	const struct string_io io = {
		.port = (uint16_t)e->gpr[REG_RDX],
		.size = MIN(insn->operand_size, 4U),
		.in = !(insn->opcode & 2),
		.rep = insn->flags & (INSN_REPE | INSN_REPNE),
		.address_size = insn->address_size,
		.segment = insn->segment,
		.length = insn->length,
	};
	uint8_t fetched = x->r->byte_count;
	int verdict = check_ports(x, io.port, io.size);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	verdict = emulate_string_io(e, &io, x->r);
	x->r->byte_count = fetched;
	return verdict;
}
