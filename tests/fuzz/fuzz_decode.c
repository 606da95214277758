/* SOURCES: vmm/emulate/decode.c vmm/emulate/decode_tables.c */
/* TEST: 200000 runs of up to 18 bytes */
/* The decoder: the input is the mode and an instruction. What it says of it must hold of each shorter piece, too. */
#include "tests/fuzz/fuzz.h"

#include "vmm/emulate/decode.h"

/* From a block of just these bytes. */
static int decode_exact(struct insn *insn, const uint8_t *bytes, size_t n, enum decode_mode mode)
{
	uint8_t *copy = malloc(n ? n : 1);
	int err;

	FUZZ_CHECK(copy);
	memcpy(copy, bytes, n);
	memset(insn, 0, sizeof(*insn));
	err = decode(insn, copy, (unsigned)n, mode);
	free(copy);
	return err;
}

static bool is_register(uint8_t n)
{
	return n < 16 || n == REG_NONE;
}

static void check(const struct insn *i, enum decode_mode mode)
{
	FUZZ_CHECK(i->length && i->length <= INSN_LENGTH_MAX);
	FUZZ_CHECK(i->encoding <= ENCODING_3DNOW && i->segment < SEG_OPERANDS);
	FUZZ_CHECK(i->operand_size == 1 || i->operand_size == 2 || i->operand_size == 4 || i->operand_size == 8);
	FUZZ_CHECK(i->address_size == 2 || i->address_size == 4 || i->address_size == 8);
	FUZZ_CHECK(mode == DECODE_64 ? i->address_size != 2 : i->address_size != 8 && !(i->flags & INSN_LOCK && i->operand_size == 8));
	FUZZ_CHECK(1 + i->disp_size + i->imm_size <= i->length);
	FUZZ_CHECK(is_register(i->index) && (is_register(i->base) || i->base == REG_RIP) && i->scale <= 3);
	FUZZ_CHECK(mode == DECODE_64 || i->base != REG_RIP);
	if (i->flags & INSN_MODRM)
		FUZZ_CHECK(i->mod <= 3 && i->reg < 32 && i->vex_vvvv < 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	enum decode_mode mode = (enum decode_mode)take_below(&in, 3);
	struct insn whole, again;
	int err = decode_exact(&whole, in.at, in.left, mode);

	FUZZ_CHECK(!err || err == ERR_RANGE || err == ERR_INVALID);
	if (err == ERR_RANGE)
		FUZZ_CHECK(in.left < INSN_LENGTH_MAX);
	if (err == ERR_INVALID)
		FUZZ_CHECK(!whole.length || (whole.length == INSN_LENGTH_MAX && in.left >= INSN_LENGTH_MAX));
	if (err)
		return 0;
	FUZZ_CHECK(whole.length <= in.left);
	check(&whole, mode);
	FUZZ_CHECK(!decode_exact(&again, in.at, whole.length, mode) && !memcmp(&whole, &again, sizeof(whole)));
	for (unsigned n = 0; n < whole.length; n++)
		FUZZ_CHECK(decode_exact(&again, in.at, n, mode) == ERR_RANGE);
	return 0;
}
