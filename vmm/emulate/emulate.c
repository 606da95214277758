/* The instructions with an operand in memory, carried out on RAM or on a device's registers. Plain MOVs of 64-bit code, the frequent case,
 * have a path of their own. */
#include "vmm/emulate/emulate.h"

#include "lib/x86/registers.h"
#include "lib/x86/segment.h"
#include "lib/x86/vectors.h"
#include "vmm/emulate/alu.h"
#include "vmm/emulate/execution.h"
#include "vmm/emulate/string.h"

/* Find the memory operand, `displacement` bytes from where ModRM says. Returns EMULATE_CONTINUE or a verdict. */
static int locate_at(struct execution *x, unsigned size, unsigned access, int64_t displacement)
{
	const struct insn *insn = x->insn;
	struct emulator *e = x->e;
	struct place *place = &x->place;
	uint64_t offset, linear, page_offset;
	int verdict;

	/* The instruction that the CPU executed had a memory operand. The code there has none now: let the guest run it. */
	if (!(insn->flags & INSN_MEM))
		return x->step ? EMULATE_CONTINUE : EMULATE_RETRY;
	offset = effective_address(e, insn) + (uint64_t)displacement;
	if (insn->address_size != 8)
		offset &= size_mask(insn->address_size);
	verdict = linear_address(e, insn->segment, offset, size, access, &linear, x->r);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	page_offset = linear & (PAGE_SIZE - 1);
	/* The CPU has just translated this operand, and found the access (no weaker than this one) permitted. */
	if (page_offset == (x->fault_gpa & (PAGE_SIZE - 1)) && page_offset + size <= PAGE_SIZE &&
	    (!(access & WALK_WRITE) || e->fault_write) && !x->step) {
		place->gpa[0] = x->fault_gpa;
		place->ram[0] = e->written ? guest_ptr(e->mem, x->fault_gpa, size) : NULL;
		place->first = size;
		return EMULATE_CONTINUE;
	}
	verdict = translate(e, insn->segment, linear, size, access, place, x->r);
	/* The whole operand is in RAM: the page tables changed since the fault, and the CPU can execute the instruction itself (atomically
	 * if need be). */
	if (verdict == EMULATE_CONTINUE && place->ram[0] && (place->first == size || place->ram[1]) && !x->step && !e->written)
		return EMULATE_RETRY;
	return verdict;
}

int locate_operand(struct execution *x, unsigned size, unsigned access)
{
	return locate_at(x, size, access, 0);
}

void operand_exchange(struct execution *x, unsigned size, uint64_t value)
{
	const struct place *place = &x->place;
	void *p = place->ram[0];
	uint64_t old64 = x->old;
	uint32_t old32 = (uint32_t)x->old;
	uint16_t old16 = (uint16_t)x->old;
	uint8_t old8 = (uint8_t)x->old;
	bool same;

	/* Devices have one reader at a time; an operand across a boundary is not atomic for what the guest's other CPUs run meanwhile. */
	if (!p || place->first != size || (uintptr_t)p & (size - 1)) {
		place_write(x->e, place, size, value);
		return;
	}
	switch (size) {
	case 1:
		same = __atomic_compare_exchange_n((uint8_t *)p, &old8, (uint8_t)value, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
		break;
	case 2:
		same = __atomic_compare_exchange_n((uint16_t *)p, &old16, (uint16_t)value, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
		break;
	case 4:
		same = __atomic_compare_exchange_n((uint32_t *)p, &old32, (uint32_t)value, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
		break;
	default:
		same = __atomic_compare_exchange_n((uint64_t *)p, &old64, value, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
		break;
	}
	x->torn |= !same;
	if (same && x->e->written)
		x->e->written(x->e->ctx, place->gpa[0], size);
}

bool is_locked(const struct insn *insn)
{
	return (insn->flags & INSN_MEM) && ((insn->flags & INSN_LOCK) || (insn->map == MAP_ONE_BYTE && (insn->opcode & 0xfe) == 0x86));
}

int execute_locked(struct execution *x, int (*instruction)(struct execution *x))
{
	struct emulator *e = x->e;
	uint64_t gpr[16], rip = e->rip, rflags = e->rflags;
	int verdict;

	memcpy(gpr, e->gpr, sizeof(gpr));
	x->locked = true;
	x->torn = false;
	verdict = instruction(x);
	if (!x->torn)
		return verdict;
	memcpy(e->gpr, gpr, sizeof(gpr));
	e->rip = rip;
	e->rflags = rflags;
	return EMULATE_RETRY;
}

static inline int locate(struct execution *x, unsigned size, unsigned access)
{
	return locate_at(x, size, access, 0);
}

/* MOV and its kin to a register: `size` bytes from memory into a register of `dst_size`. */
static int load(struct execution *x, unsigned reg, unsigned size, unsigned dst_size, bool sign)
{
	int verdict = locate(x, size, WALK_READ);
	uint64_t value;

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	value = operand_read(x, size);
	if (sign)
		value = sign_extend(value, size);
	write_reg(x->e, x->insn, reg, dst_size, value);
	return finish(x->e, x->insn->length);
}

static int store(struct execution *x, unsigned size, uint64_t value)
{
	int verdict = locate(x, size, WALK_WRITE);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	operand_write(x, size, value);
	return finish(x->e, x->insn->length);
}

/* memory = memory op value; CMP writes nothing. */
static int alu_memory(struct execution *x, enum alu_op op, uint64_t value)
{
	unsigned size = x->insn->operand_size;
	int verdict = locate(x, size, op == ALU_CMP ? WALK_READ : WALK_WRITE);
	uint64_t result;

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	result = alu(op, operand_read(x, size), value, size, &x->e->rflags);
	if (op != ALU_CMP)
		operand_write(x, size, result);
	return finish(x->e, x->insn->length);
}

/* register = register op memory */
static int alu_register(struct execution *x, enum alu_op op)
{
	unsigned size = x->insn->operand_size, reg = x->insn->reg;
	int verdict = locate(x, size, WALK_READ);
	uint64_t result;

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	result = alu(op, read_reg(x->e, x->insn, reg, size), operand_read(x, size), size, &x->e->rflags);
	if (op != ALU_CMP)
		write_reg(x->e, x->insn, reg, size, result);
	return finish(x->e, x->insn->length);
}

static int test_memory(struct execution *x, uint64_t value)
{
	unsigned size = x->insn->operand_size;
	int verdict = locate(x, size, WALK_READ);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	alu(ALU_AND, operand_read(x, size), value, size, &x->e->rflags);
	return finish(x->e, x->insn->length);
}

/* INC and DEC leave CF alone. */
static int increment(struct execution *x, enum alu_op op)
{
	unsigned size = x->insn->operand_size;
	uint64_t carry = x->e->rflags & RFLAGS_CF, result;
	int verdict = locate(x, size, WALK_WRITE);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	result = alu(op, operand_read(x, size), 1, size, &x->e->rflags);
	x->e->rflags = (x->e->rflags & ~RFLAGS_CF) | carry;
	operand_write(x, size, result);
	return finish(x->e, x->insn->length);
}

/* NOT (no flags) and NEG */
static int negate(struct execution *x, bool arithmetic)
{
	unsigned size = x->insn->operand_size;
	int verdict = locate(x, size, WALK_WRITE);
	uint64_t value;

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	value = operand_read(x, size);
	operand_write(x, size, arithmetic ? alu(ALU_SUB, 0, value, size, &x->e->rflags) : ~value);
	return finish(x->e, x->insn->length);
}

/* XCHG, and XADD where `add` */
static int exchange(struct execution *x, bool add)
{
	unsigned size = x->insn->operand_size, reg = x->insn->reg;
	int verdict = locate(x, size, WALK_WRITE);
	uint64_t old, new;

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	old = operand_read(x, size);
	new = read_reg(x->e, x->insn, reg, size);
	if (add)
		new = alu(ALU_ADD, old, new, size, &x->e->rflags);
	write_reg(x->e, x->insn, reg, size, old);
	operand_write(x, size, new); /* last: XADD of a register to itself leaves the sum */
	return finish(x->e, x->insn->length);
}

static int compare_exchange(struct execution *x)
{
	unsigned size = x->insn->operand_size;
	int verdict = locate(x, size, WALK_WRITE);
	uint64_t old;

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	old = operand_read(x, size);
	alu(ALU_CMP, x->e->gpr[REG_RAX], old, size, &x->e->rflags);
	if (x->e->rflags & RFLAGS_ZF) {
		operand_write(x, size, read_reg(x->e, x->insn, x->insn->reg, size));
	} else {
		if (x->insn->flags & INSN_MEM)
			operand_write(x, size, old); /* the bus sees a write either way */
		write_gpr(&x->e->gpr[REG_RAX], size, old);
	}
	return finish(x->e, x->insn->length);
}

static int compare_exchange_8b(struct execution *x)
{
	uint64_t *gpr = x->e->gpr, old;
	int verdict = locate(x, 8, WALK_WRITE);

	if (!(x->insn->flags & INSN_MEM) && x->step)
		return raise_exception(x->r, VECTOR_UD, -1);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	old = operand_read(x, 8);
	if (old == (gpr[REG_RDX] << 32 | (uint32_t)gpr[REG_RAX])) {
		operand_write(x, 8, gpr[REG_RCX] << 32 | (uint32_t)gpr[REG_RBX]);
		x->e->rflags |= RFLAGS_ZF;
	} else {
		operand_write(x, 8, old);
		gpr[REG_RAX] = (uint32_t)old;
		gpr[REG_RDX] = old >> 32;
		x->e->rflags &= ~RFLAGS_ZF;
	}
	return finish(x->e, x->insn->length);
}

/* BT, BTS, BTR, BTC in the order of their encodings; a register's bit index reaches beyond the operand, an immediate's wraps. */
static int bit_operation(struct execution *x, unsigned op, bool immediate)
{
	unsigned size = x->insn->operand_size, bits = 8 * size, index;
	int64_t displacement = 0;
	uint64_t value, bit;
	int verdict;

	if (immediate || !(x->insn->flags & INSN_MEM)) {
		index = (unsigned)(immediate ? x->insn->imm : x->e->gpr[x->insn->reg]) & (bits - 1);
	} else {
		int64_t wide = (int64_t)sign_extend(x->e->gpr[x->insn->reg], size);

		index = (unsigned)wide & (bits - 1);
		displacement = (wide >> 3) & -(int64_t)size;
	}
	verdict = locate_at(x, size, op ? WALK_WRITE : WALK_READ, displacement);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	value = operand_read(x, size);
	bit = 1ULL << index;
	x->e->rflags = (x->e->rflags & ~RFLAGS_CF) | (value & bit ? RFLAGS_CF : 0);
	if (op)
		operand_write(x, size, op == 1 ? value | bit : op == 2 ? value & ~bit : value ^ bit);
	return finish(x->e, x->insn->length);
}

static int conditional_move(struct execution *x)
{
	unsigned size = x->insn->operand_size, reg = x->insn->reg;
	int verdict = locate(x, size, WALK_READ);
	uint64_t value;

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	value = operand_read(x, size);
	if (!condition(x->insn->opcode, x->e->rflags))
		value = x->e->gpr[reg];
	write_gpr(&x->e->gpr[reg], size, value);
	return finish(x->e, x->insn->length);
}

static uint64_t byte_swap(uint64_t value, unsigned size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

/* MOVBE */
static int move_swapped(struct execution *x, bool to_memory)
{
	unsigned size = x->insn->operand_size, reg = x->insn->reg;
	int verdict = locate(x, size, to_memory ? WALK_WRITE : WALK_READ);

	if (!(x->insn->flags & INSN_MEM) && x->step)
		return raise_exception(x->r, VECTOR_UD, -1);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	if (to_memory)
		operand_write(x, size, byte_swap(x->e->gpr[reg], size));
	else
		write_gpr(&x->e->gpr[reg], size, byte_swap(operand_read(x, size), size));
	return finish(x->e, x->insn->length);
}

bool lockable(const struct insn *insn)
{
	unsigned op = insn->opcode, group = insn->modrm >> 3 & 7;

	if (!(insn->flags & INSN_MEM))
		return false;
	switch (insn->map) {
	case MAP_ONE_BYTE:
		if (op < 0x38)
			return (op & 7) < 2;
		if (op >= 0x80 && op <= 0x83)
			return group != ALU_CMP;
		if (op == 0xf6 || op == 0xf7)
			return group == 2 || group == 3;
		return op == 0x86 || op == 0x87 || ((op == 0xfe || op == 0xff) && group < 2);
	case MAP_0F:
		if (op == 0xba)
			return group > 4;
		return op == 0xab || op == 0xb3 || op == 0xbb || op == 0xb0 || op == 0xb1 || op == 0xc0 || op == 0xc1 ||
		       (op == 0xc7 && group == 1);
	default:
		return false;
	}
}

static int execute_one_byte(struct execution *x)
{
	const struct insn *insn = x->insn;
	unsigned size = insn->operand_size, group = insn->modrm >> 3 & 7;
	struct emulator *e = x->e;

	switch (insn->opcode) {
	case 0x88:
	case 0x89:
		return store(x, size, read_reg(e, insn, insn->reg, size));
	case 0x8a:
	case 0x8b:
		return load(x, insn->reg, size, size, false);
	case 0xc6:
	case 0xc7:
		return group == 0 ? store(x, size, insn->imm) : EMULATE_UNSUPPORTED;
	case 0xa0:
	case 0xa1:
		return load(x, REG_RAX, size, size, false);
	case 0xa2:
	case 0xa3:
		return store(x, size, e->gpr[REG_RAX]);
	case 0x63:
		if (e->mode != DECODE_64)
			return EMULATE_UNSUPPORTED; /* ARPL */
		return load(x, insn->reg, MIN(size, 4U), size, true);
	case 0x80:
	case 0x81:
	case 0x82:
	case 0x83:
		return alu_memory(x, (enum alu_op)group, insn->imm);
	case 0x84:
	case 0x85:
		return test_memory(x, read_reg(e, insn, insn->reg, size));
	case 0x86:
	case 0x87:
		return exchange(x, false);
	case 0xa4:
	case 0xa5:
	case 0xa6:
	case 0xa7:
	case 0xaa:
	case 0xab:
	case 0xac:
	case 0xad:
	case 0xae:
	case 0xaf:
		if (!x->step && e->written && insn->flags & (INSN_REPE | INSN_REPNE) && guest_ptr(e->mem, x->fault_gpa, 1) &&
		    e->rewritten(e->ctx, x->fault_gpa))
			return EMULATE_RETRY;
		return emulate_string(e, insn, x->r);
	case 0xf6:
	case 0xf7:
		if (group < 2)
			return test_memory(x, insn->imm);
		return group < 4 ? negate(x, group == 3) : EMULATE_UNSUPPORTED;
	case 0xfe:
	case 0xff:
		return group < 2 ? increment(x, group ? ALU_SUB : ALU_ADD) : EMULATE_UNSUPPORTED;
	default:
		if (insn->opcode < 0x40 && (insn->opcode & 7) < 2)
			return alu_memory(x, (enum alu_op)(insn->opcode >> 3), read_reg(e, insn, insn->reg, size));
		if (insn->opcode < 0x40 && (insn->opcode & 7) < 4)
			return alu_register(x, (enum alu_op)(insn->opcode >> 3));
		return EMULATE_UNSUPPORTED;
	}
}

static int execute_0f(struct execution *x)
{
	const struct insn *insn = x->insn;
	unsigned size = insn->operand_size, group = insn->modrm >> 3 & 7;

	switch (insn->opcode) {
	case 0xb6:
	case 0xb7:
		return load(x, insn->reg, insn->opcode & 1 ? 2 : 1, size, false);
	case 0xbe:
	case 0xbf:
		return load(x, insn->reg, insn->opcode & 1 ? 2 : 1, size, true);
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
		return bit_operation(x, insn->opcode >> 3 & 3, false);
	case 0xba:
		return group >= 4 ? bit_operation(x, group & 3, true) : EMULATE_UNSUPPORTED;
	case 0xb0:
	case 0xb1:
		return compare_exchange(x);
	case 0xc0:
	case 0xc1:
		return exchange(x, true);
	case 0xc3:
		if (insn->flags & (INSN_OPSIZE | INSN_REPE | INSN_REPNE))
			return EMULATE_UNSUPPORTED;
		if (!(insn->flags & INSN_MEM) && x->step)
			return raise_exception(x->r, VECTOR_UD, -1);
		return store(x, size, x->e->gpr[insn->reg]); /* MOVNTI */
	case 0xc7:
		return group == 1 && size != 8 ? compare_exchange_8b(x) : EMULATE_UNSUPPORTED;
	default:
		if ((insn->opcode & 0xf0) == 0x40)
			return conditional_move(x);
		if ((insn->opcode & 0xf0) == 0x90)
			return store(x, 1, condition(insn->opcode, x->e->rflags));
		return EMULATE_UNSUPPORTED;
	}
}

int execute_common(struct execution *x)
{
	const struct insn *insn = x->insn;

	if (insn->encoding != ENCODING_LEGACY)
		return EMULATE_UNSUPPORTED;
	if ((insn->flags & INSN_LOCK) && !lockable(insn))
		return raise_exception(x->r, VECTOR_UD, -1);
	switch (insn->map) {
	case MAP_ONE_BYTE:
		return execute_one_byte(x);
	case MAP_0F:
		return execute_0f(x);
	case MAP_0F38:
		if ((insn->opcode & 0xfe) == 0xf0 && !(insn->flags & INSN_REPNE))
			return move_swapped(x, insn->opcode & 1);
		return EMULATE_UNSUPPORTED;
	default:
		return EMULATE_UNSUPPORTED;
	}
}

/* Everything but the quick MOVs. */
static __attribute__((noinline)) int execute(struct emulator *e, const struct insn *insn, uint64_t fault_gpa, struct emulate_result *r)
{
	struct execution x;

	x.e = e;
	x.r = r;
	x.fault_gpa = fault_gpa;
	x.insn = insn;
	x.step = x.locked = false;
	return __builtin_expect(e->written != NULL, 0) && is_locked(insn) ? execute_locked(&x, execute_common) : execute_common(&x);
}

static int find_operand(struct emulator *e, const struct insn *insn, unsigned size, unsigned access, struct place *place,
			struct emulate_result *r)
{
	uint64_t offset = effective_address(e, insn) & size_mask(insn->address_size), linear;
	int verdict = linear_address(e, insn->segment, offset, size, access, &linear, r);

	return verdict == EMULATE_CONTINUE ? translate(e, insn->segment, linear, size, access, place, r) : verdict;
}

int emulate_operand(struct emulator *e, const struct insn *insn, unsigned size, uint64_t *value, struct emulate_result *r)
{
	struct place place;
	int verdict = find_operand(e, insn, size, WALK_READ, &place, r);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	*value = place_read(e, &place, size);
	return EMULATE_DONE;
}

int emulate_operand_write(struct emulator *e, const struct insn *insn, unsigned size, uint64_t value, struct emulate_result *r)
{
	struct place place;
	int verdict = find_operand(e, insn, size, WALK_WRITE, &place, r);

	if (verdict != EMULATE_CONTINUE)
		return verdict;
	place_write(e, &place, size, value);
	return EMULATE_DONE;
}

uint64_t emulate_linear(struct emulator *e, const struct insn *insn)
{
	uint64_t linear = effective_address(e, insn) & size_mask(insn->address_size);

	if (e->mode != DECODE_64)
		return (uint32_t)(linear + segment_of(e, insn->segment)->base);
	return insn->segment >= SEG_FS ? linear + segment_of(e, insn->segment)->base : linear;
}

int emulate_mmio(struct emulator *e, uint64_t fault_gpa, struct emulate_result *r)
{
	const struct insn_memo *memo;
	const struct insn *insn;
	int verdict;

	verdict = fetch_insn(e, &memo, r);
	if (verdict != EMULATE_CONTINUE)
		return verdict;
	insn = &memo->insn;
	/* The conditions are those of locate_at(), which explains them. */
	if (memo->quick != QUICK_NONE && !((effective_address(e, insn) ^ fault_gpa) & (PAGE_SIZE - 1)) &&
	    (fault_gpa & (PAGE_SIZE - 1)) + insn->operand_size <= PAGE_SIZE && (e->fault_write || memo->quick == QUICK_LOAD)) {
		if (memo->quick == QUICK_LOAD)
			e->gpr[insn->reg] = e->mmio_read(e->ctx, fault_gpa, insn->operand_size) & memo->mask;
		else
			e->mmio_write(e->ctx, fault_gpa, insn->operand_size,
				      (memo->quick == QUICK_STORE ? e->gpr[insn->reg] : insn->imm) & memo->mask);
		e->rip += insn->length;
		e->rflags &= ~RFLAGS_RF;
		return EMULATE_DONE;
	}
	return execute(e, insn, fault_gpa, r);
}
