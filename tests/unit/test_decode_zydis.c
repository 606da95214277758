/* SOURCES: vmm/emulate/decode.c vmm/emulate/decode_tables.c */
/* LIBS: -lZydis */
/* The decoder against an independent one, over random bytes and over real programs' code. */
#include "tests/unit/unit.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <Zydis/Zydis.h>

#include "vmm/emulate/decode.h"

static ZydisDecoder decoder[3];

static int setup(void **state)
{
	(void)state;
	ZydisDecoderInit(&decoder[DECODE_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&decoder[DECODE_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&decoder[DECODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	return 0;
}

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void complain(const char *what, enum decode_mode mode, const uint8_t *bytes, int mine, int theirs)
{
	fprintf(stderr, "%s, mode %d: ours %d, theirs %d:", what, mode, mine, theirs);
	for (int i = 0; i < 15; i++)
		fprintf(stderr, " %02x", bytes[i]);
	fprintf(stderr, "\n");
}

static unsigned compared, refused_by_theirs_only;

static unsigned zydis_register(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return REG_NONE;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return REG_RIP;
	return (unsigned)ZydisRegisterGetId(reg);
}

/* Compare one instruction; returns its length or 0 where both refuse it. Differences go to `bad`. */
static unsigned compare(enum decode_mode mode, const uint8_t *bytes, unsigned avail, unsigned *bad)
{
	ZydisDecodedInstruction theirs;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZyanStatus status = ZydisDecoderDecodeFull(&decoder[mode], bytes, avail, &theirs, op);
	bool vsib = false;
	struct insn mine;
	int err = decode(&mine, bytes, avail, mode);

	if (!ZYAN_SUCCESS(status)) {
		/* Only hardware knows forms beyond the tables of either; but what is too long is too long for both. */
		if (status == ZYDIS_STATUS_NO_MORE_DATA ? !err : status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG && !err) {
			(*bad)++;
			complain("status", mode, bytes, err, (int)(status & 0xffff));
		}
		if (!err)
			refused_by_theirs_only++;
		return err ? 0 : mine.length;
	}
	/* Knights Corner's encodings are nobody else's. */
	if (theirs.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX || theirs.mnemonic == ZYDIS_MNEMONIC_JKZD ||
	    theirs.mnemonic == ZYDIS_MNEMONIC_JKNZD)
		return theirs.length;
	compared++;
	if (err || mine.length != theirs.length) {
		if ((*bad)++ < 20)
			complain("length", mode, bytes, err ? err : mine.length, theirs.length);
		return theirs.length;
	}
	/* MPX's own memory operands ignore the address-size prefix and may lack an index. */
	if (theirs.meta.isa_set == ZYDIS_ISA_SET_MPX)
		return theirs.length;
	if (mine.address_size * 8 != theirs.address_width && !(mine.map == MAP_0F && mine.opcode == 1 && mine.mod == 3)) {
		if ((*bad)++ < 20)
			complain("address size", mode, bytes, mine.address_size * 8, theirs.address_width);
	}
	for (unsigned i = 0; i < theirs.operand_count; i++) {
		const ZydisDecodedOperandMem *m = &op[i].mem;
		/* They sign-extend the address of a moffs, we do not. */
		int64_t mask = op[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM || mine.address_size == 8 ?
			-1 : (int64_t)BIT(8 * mine.address_size) - 1;

		if (op[i].type != ZYDIS_OPERAND_TYPE_MEMORY || op[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			continue;
		if (op[i].encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM && op[i].encoding != ZYDIS_OPERAND_ENCODING_DISP16_32_64)
			continue;
		vsib = m->type == ZYDIS_MEMOP_TYPE_VSIB;
		/* Without a base REX.B means nothing, which they miss for 32-bit addresses in 64-bit mode. */
		if (mode == DECODE_64 && mine.address_size == 4 && mine.mod == 0 && (mine.modrm & 7) == 4 && (mine.sib & 7) == 5)
			continue;
		if (!(mine.flags & INSN_MEM) || mine.base != zydis_register(m->base) ||
		    (!vsib && mine.index != zydis_register(m->index)) ||
		    (!vsib && m->index != ZYDIS_REGISTER_NONE && (1U << mine.scale) != m->scale) ||
		    (mine.encoding != ENCODING_EVEX && m->disp.has_displacement && ((mine.disp ^ m->disp.value) & mask) != 0)) {
			if ((*bad)++ < 20)
				complain("memory operand", mode, bytes, mine.base, zydis_register(m->base));
		}
		/* LEA has a segment for us, and uses it as little as the CPU. */
		if (m->segment != ZYDIS_REGISTER_NONE && theirs.mnemonic != ZYDIS_MNEMONIC_LEA && mine.segment != ZydisRegisterGetId(m->segment)) {
			if ((*bad)++ < 20)
				complain("segment", mode, bytes, mine.segment, ZydisRegisterGetId(m->segment));
		}
	}
	if (theirs.raw.imm[0].size && !theirs.raw.imm[1].size && mine.imm_size && mine.imm_size <= 8) {
		uint64_t mask = mine.imm_size == 8 ? ~0ULL : BIT(8 * mine.imm_size) - 1;

		if (mine.imm_size * 8 == theirs.raw.imm[0].size && ((mine.imm ^ theirs.raw.imm[0].value.u) & mask) != 0) {
			if ((*bad)++ < 20)
				complain("immediate", mode, bytes, (int)mine.imm, (int)theirs.raw.imm[0].value.u);
		}
	}
	if (!!(theirs.attributes & ZYDIS_ATTRIB_IS_RELATIVE) != (!!(mine.flags & INSN_BRANCH) || mine.base == REG_RIP) &&
	    theirs.mnemonic != ZYDIS_MNEMONIC_XBEGIN) {
		if ((*bad)++ < 20)
			complain("relative", mode, bytes, mine.flags, 0);
	}
	return theirs.length;
}

static void test_random(void **state)
{
	/* Starts that lead into every map; the rest is random. */
	static const uint8_t start[][2] = {
		{ 0 }, { 1, 0x0f }, { 1, 0x62 }, { 1, 0xc4 }, { 1, 0xc5 }, { 1, 0x8f }, { 1, 0x66 }, { 1, 0x48 }, { 1, 0xf3 }, { 1, 0xf2 },
		{ 1, 0x67 },
	};
	unsigned bad = 0;

	(void)state;
	for (unsigned n = 0; n < 1500000; n++) {
		unsigned which = (unsigned)random64() % ARRAY_SIZE(start);
		uint8_t bytes[16];
		uint64_t r[2] = { random64(), random64() };

		memcpy(bytes, r, 16);
		if (start[which][0])
			bytes[0] = start[which][1];
		if ((n & 7) == 0 && bytes[0] != 0x0f)
			bytes[1] = 0x0f;
		if ((n & 63) == 0) {
			bytes[1] = 0x0f;
			bytes[2] = n & 64 ? 0x38 : 0x3a;
		}
		compare((enum decode_mode)(n % 3), bytes, 15, &bad);
	}
	print_message("%u compared, %u more that only ours accepts\n", compared, refused_by_theirs_only);
	assert_int_equal(bad, 0);
	assert_true(compared > 500000);
}

/* Prefix runs up to and beyond the longest instruction, and every truncation. */
static void test_prefixes(void **state)
{
	static const uint8_t prefix[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x48, 0x41 };
	unsigned bad = 0;

	(void)state;
	for (unsigned n = 0; n < 300000; n++) {
		unsigned count = (unsigned)random64() % 16;
		uint64_t r[2] = { random64(), random64() };
		uint8_t bytes[16];

		memcpy(bytes, r, 16);
		for (unsigned i = 0; i < count; i++)
			bytes[i] = prefix[random64() % sizeof(prefix)];
		compare((enum decode_mode)(n % 3), bytes, 1 + (unsigned)random64() % 15, &bad);
	}
	assert_int_equal(bad, 0);
}

static void read_at(FILE *f, uint64_t offset, void *data, size_t size)
{
	assert_int_equal(fseek(f, (long)offset, SEEK_SET), 0);
	assert_int_equal(fread(data, 1, size, f), size);
}

/* Walk a section from its start. Where both decoders refuse a byte sequence both go on a byte later. Returns the number of steps. */
static unsigned walk_section(FILE *f, const Elf64_Shdr *section, unsigned *bad)
{
	size_t size = section->sh_size, at = 0;
	uint8_t *text = malloc(size);
	unsigned count = 0;

	assert_non_null(text);
	read_at(f, section->sh_offset, text, size);
	while (at < size) {
		unsigned n = compare(DECODE_64, text + at, (unsigned)(size - at < 15 ? size - at : 15), bad);

		at += n ? n : 1;
		count++;
	}
	free(text);
	return count;
}

/* Walk every section of code of a program: all of its functions, one after the other. */
static void walk_program(const char *path, unsigned at_least)
{
	FILE *f = fopen(path, "rb");
	Elf64_Ehdr eh;
	Elf64_Shdr *sh;
	unsigned bad = 0, count = 0;

	if (!f)
		fail_msg("%s is not here (`make guests` fetches Debian's kernel)", path);
	read_at(f, 0, &eh, sizeof(eh));
	assert_memory_equal(eh.e_ident, ELFMAG, SELFMAG);
	sh = calloc(eh.e_shnum, sizeof(*sh));
	read_at(f, eh.e_shoff, sh, eh.e_shnum * sizeof(*sh));
	for (unsigned i = 0; i < eh.e_shnum; i++) {
		if (sh[i].sh_type == SHT_PROGBITS && (sh[i].sh_flags & SHF_EXECINSTR))
			count += walk_section(f, &sh[i], &bad);
	}
	free(sh);
	fclose(f);
	print_message("%s: %u instructions\n", path, count);
	assert_int_equal(bad, 0);
	assert_true(count > at_least);
}

static void test_programs(void **state)
{
	(void)state;
	walk_program("/usr/lib/x86_64-linux-gnu/libc.so.6", 100000);
}

static void test_debian_kernel(void **state)
{
	(void)state;
	walk_program("build/guests/vmlinux", 2000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_debian_kernel),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
