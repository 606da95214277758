#include "lib/printf.h"
#include "lib/string.h"
#include "tests/guests/lib/trap.h"
#include "tests/guests/stress/model.h"

struct op batch[BATCH + 1];

static uint64_t random_state;
static uint32_t written[16 + TABLE_FRAMES]; /* the word to write of each data page and table */
static bool smep, smap;

/* xorshift64*. */
static uint64_t random_word(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dULL;
}

static unsigned random_below(unsigned limit)
{
	return (unsigned)((random_word() >> 33) % limit);
}

static bool percent(unsigned chance)
{
	return random_below(100) < chance;
}

static struct op *next;

static struct op *emit(enum operation kind, uint64_t address, uint64_t value)
{
	struct op *op = next++;

	*op = (struct op){ .kind = kind, .address = address, .value = value, .vector = (uint32_t)NO_FAULT };
	op->expected_vector = (uint32_t)NO_FAULT;
	return op;
}

static unsigned room(void)
{
	return (unsigned)(&batch[BATCH] - next);
}

static void write_entry(unsigned frame, unsigned index, uint64_t value)
{
	/* A CPU may translate any address at any time: what the entry led to until now may be held without an access. */
	for (unsigned i = 0; (get_entry(frame, index) & P) && i < linear_count; i++) {
		struct walk w = walk(linears[i]);

		for (unsigned step = 0; step < w.count; step++) {
			if (w.step[step].frame == frame && w.step[step].index == index) {
				hold(i, &w);
				break;
			}
		}
	}
	emit(mode->entry == 4 ? OP_ENTRY4 : OP_ENTRY8, TABLES + frame * 4096ULL + (uint64_t)index * mode->entry, value);
	put_entry(frame, index, value);
}

/* The tables' indices that the addresses use: of the lowest level 0 to 3, of the second 32 and 33, of the third 0 and 1. */
static const unsigned used[] = { 0, 1, 2, 3, 32, 33 };

static unsigned used_count(void)
{
	return mode->levels == 2 ? 4 : ARRAY_SIZE(used);
}

/* The pool's tables by the level that they mostly serve. */
static unsigned table_for(unsigned level)
{
	static const struct { unsigned first, count; } range[] = { [1] = { 0, 6 }, [2] = { 6, 4 }, [3] = { 10, 2 } };

	if (mode->levels == 2)
		return percent(8) ? random_below(TABLE_FRAMES) : ROOTS + random_below(POOL);
	if (percent(8)) /* any; but a flag set in a PDPTE would be a reserved bit */
		return mode->legacy ? ROOTS + random_below(POOL) : random_below(TABLE_FRAMES);
	return ROOTS + range[level].first + random_below(range[level].count);
}

/* An entry that mostly makes sense where entries of this level are. */
static uint64_t random_entry(unsigned level)
{
	uint64_t value = random_word() & (A | D | G);
	unsigned kind = random_below(100);

	if (kind < 12)
		return random_word() & 0x7ffffffffffffffeULL & (mode->entry == 4 ? 0xffffffff : ~0ULL);
	value |= P | (percent(80) ? W : 0) | (percent(70) ? U : 0);
	if (mode->entry == 8 && percent(mode->nxe ? 12 : 1))
		value |= NX;
	if (percent(4))
		value |= BIT(3) | (percent(50) ? BIT(4) : 0);
	if (percent(2))
		value |= mode->entry == 8 ? BIT(51) : BIT(21) | PS;
	if (level == 1)
		return value | (percent(8) ? TABLES + random_below(TABLE_FRAMES) * 4096ULL : data_page(random_below(16))) |
		       (percent(5) ? PS : 0);
	if (level == 2 && percent(30))
		return value | PS | (mode->entry == 4 ? DATA + random_below(2) * MIB(4) : DATA + random_below(4) * MIB(2)) |
		       (mode->entry == 8 && percent(3) ? BIT(14) : 0);
	if (level == 3 && !mode->legacy && percent(20))
		return value | PS;
	return value | (TABLES + table_for(level - 1) * 4096ULL);
}

static unsigned level_of_index(unsigned index)
{
	return index >= 32 ? 2 : mode->levels == 4 && index < 2 && percent(40) ? 3 : 1;
}

static uint64_t pdpte(void)
{
	return percent(10) ? 0 : (TABLES + table_for(2) * 4096ULL) | P;
}

static void load_root(unsigned number)
{
	root = number;
	emit(OP_CR3, 0, TABLES + root * 4096ULL);
	forget_nonglobal();
}

static unsigned root_index(void)
{
	uint64_t linear = linears[random_below(linear_count)];

	return (unsigned)(linear >> level_shift(mode->levels)) & ((1U << index_bits()) - 1);
}

static void change_root(void)
{
	unsigned frame = random_below(ROOTS);

	if (is_pdpte_root(frame)) {
		/* The CPU loads them with CR3, not before. */
		write_entry(frame, root_index(), pdpte());
		load_root(frame == root || percent(50) ? root : frame);
	} else {
		write_entry(frame, root_index(), random_entry(mode->levels));
	}
}

static void change_table(void)
{
	unsigned frame = ROOTS + random_below(POOL), index;
	uint64_t linear = linears[random_below(linear_count)];
	struct walk w = walk(linear);

	/* Mostly where an address leads now. */
	if (percent(70) && w.count > 1) {
		frame = w.step[w.count - 1].frame;
		index = w.step[w.count - 1].index;
		if (frame < ROOTS)
			return;
		if (percent(50)) { /* a right or a flag */
			static const uint64_t flags[] = { W, U, A, D, G, P, A | D, W | D };
			uint64_t flag = flags[random_below(ARRAY_SIZE(flags))];

			write_entry(frame, index, get_entry(frame, index) ^ flag);
		} else {
			write_entry(frame, index, random_entry(mode->levels - w.count + 1));
		}
		if (percent(75)) {
			emit(OP_INVLPG, linear, 0);
			forget_page(linear);
		}
		return;
	}
	index = used[random_below(used_count())];
	write_entry(frame, index, random_entry(level_of_index(index)));
}

/* A copy of a table, as for a fork: neither may be written through then. */
static void fork_table(void)
{
	unsigned from = ROOTS + random_below(POOL), to = ROOTS + random_below(POOL);
	uint64_t mask = percent(50) ? ~(uint64_t)W : ~0ULL;

	for (unsigned i = 0; i < used_count(); i++) {
		uint64_t value = get_entry(from, used[i]) & mask;

		write_entry(to, used[i], value);
		if (mask != ~0ULL)
			write_entry(from, used[i], value);
	}
}

static void change_control(void)
{
	switch (random_below(4)) {
	case 0:
		cr0 ^= CR0_WP;
		emit(OP_CR0, 0, cr0);
		return;
	case 1:
		cr4 ^= CR4_PGE;
		emit(OP_CR4, 0, cr4);
		forget_all();
		return;
	case 2:
		cr4 ^= smep ? CR4_SMEP : 0;
		break;
	default:
		cr4 ^= smap ? CR4_SMAP : 0;
	}
	emit(OP_CR4, 0, cr4);
}

static bool denied(const struct walk *w, enum operation kind, unsigned flags)
{
	if (flags & OP_USER)
		return !w->user || (kind == OP_WRITE && !w->write) || (kind == OP_EXEC && w->nx);
	if (kind == OP_EXEC)
		return w->nx || (w->user && (cr4 & CR4_SMEP));
	return (w->user && (cr4 & CR4_SMAP) && !(flags & OP_AC)) || (kind == OP_WRITE && !w->write && (cr0 & CR0_WP));
}

static uint32_t error_code(const struct walk *w, enum operation kind, unsigned flags)
{
	bool fetch = kind == OP_EXEC && ((mode->entry == 8 && mode->nxe) || (cr4 & CR4_SMEP));

	return (!w->fault || w->reserved ? 1 : 0) | (kind == OP_WRITE ? 2 : 0) | (flags & OP_USER ? 4 : 0) | (w->reserved ? 8 : 0) |
	       (fetch ? 16 : 0);
}

static void set_flags(const struct walk *w, bool write)
{
	for (unsigned i = 0; i < w->count; i++) {
		unsigned frame = w->step[i].frame, index = w->step[i].index;

		if (is_pdpte_root(frame) && i == 0)
			continue;
		put_entry(frame, index, get_entry(frame, index) | A | (write && i + 1 == w->count ? D : 0));
	}
}

static void access(void)
{
	static const unsigned offsets[] = { [OP_READ] = PAGE_READ, [OP_WRITE] = PAGE_WRITE, [OP_EXEC] = PAGE_EXEC };
	unsigned which = random_below(linear_count), flags = random_below(4);
	enum operation kind = OP_READ + random_below(3);
	struct walk w = walk(linears[which]);
	uint32_t value = (uint32_t)random_word() & ~1U; /* never an entry that is present */
	bool refused = w.fault || denied(&w, kind, flags);
	struct op *op;
	uint64_t address;

	if (flags & OP_USER)
		flags = OP_USER;
	if (w.unknown || !settled(linears[which], &w))
		return;
	if (!refused && !is_data(w.physical) && (kind == OP_EXEC || !is_table(w.physical)))
		return;
	address = linears[which] + (kind == OP_EXEC && (flags & OP_USER) ? PAGE_USER_EXEC : offsets[kind]);
	op = emit(kind, address, value);
	op->flags = flags;
	if (refused) {
		op->expected_vector = VECTOR_PF;
		op->expected_error = error_code(&w, kind, flags);
		op->expected_cr2 = address;
		for (unsigned i = 0; i < w.count; i++)
			if ((w.step[i].value & P) && !(w.step[i].value & A) && !(is_pdpte_root(w.step[i].frame) && i == 0))
				maybe_accessed[w.step[i].frame][w.step[i].index] = true;
		hold(which, &w);
		return;
	}
	set_flags(&w, kind == OP_WRITE);
	hold(which, &w);
	if (kind == OP_WRITE)
		written[page_number(w.physical)] = value;
	else if (is_data(w.physical))
		op->expected_result = 0x00c0de00U + (page_number(w.physical) << 16);
}

uint64_t model_batch(uint64_t *start_cr0, uint64_t *start_cr4)
{
	uint64_t start = TABLES + root * 4096ULL;

	*start_cr0 = cr0;
	*start_cr4 = cr4;
	forget_all();
	for (next = batch; room() > 2 * ARRAY_SIZE(used) + 2;) {
		unsigned kind = random_below(100);

		if (kind < 60) {
			access();
		} else if (kind < 82) {
			change_table();
		} else if (kind < 85) {
			change_root();
		} else if (kind < 87) {
			fork_table();
		} else if (kind < 90) {
			change_control();
		} else if (kind < 94) {
			uint64_t linear = linears[random_below(linear_count)];

			emit(OP_INVLPG, linear, 0);
			forget_page(linear);
		} else {
			load_root(percent(50) ? root : random_below(ROOTS));
		}
	}
	emit(OP_END, 0, 0);
	return start;
}

/* The entry of a table at `index` against memory. What follows must not depend on an accessed flag that is left open. */
static bool check_entry(unsigned frame, unsigned index, char *text, size_t size)
{
	uint8_t *at = (uint8_t *)TABLES + frame * 4096ULL + (uint64_t)index * mode->entry;
	uint64_t seen = 0, expected = get_entry(frame, index), open = maybe_accessed[frame][index] ? A : 0;

	/* QEMU 7.2 sets the accessed flag in PDPTEs too, where it is a reserved bit. */
	if (is_pdpte_root(frame) && cpu_is_amd())
		open = A;
	memcpy(&seen, at, mode->entry);
	if ((seen ^ expected) & ~open) {
		snprintf(text, size, "entry %u of table %u is %llx, not %llx", index, frame, (unsigned long long)seen, (unsigned long long)expected);
		return false;
	}
	if (open)
		memcpy(at, &expected, mode->entry);
	return true;
}

bool model_check_tables(char *text, size_t size, uint64_t *checksum)
{
	for (unsigned frame = 0; frame < TABLE_FRAMES; frame++) {
		const uint64_t *page = (const uint64_t *)(TABLES + frame * 4096ULL);

		mirror[frame][PAGE_WRITE / 8] = written[16 + frame];
		for (unsigned word = 0; word < 512; word++) {
			if (mirror[frame][word])
				*checksum = (*checksum ^ mirror[frame][word]) * 0x100000001b3ULL;
			if (page[word] == mirror[frame][word])
				continue;
			for (unsigned i = 0; i < 8 / mode->entry; i++)
				if (!check_entry(frame, word * (8 / mode->entry) + i, text, size))
					return false;
		}
	}
	memset(maybe_accessed, 0, sizeof(maybe_accessed));
	for (unsigned i = 0; i < 16; i++) {
		uint32_t seen = *(const uint32_t *)(data_page(i) + PAGE_WRITE);

		if (seen != written[i]) {
			snprintf(text, size, "the word written to data page %u is %x, not %x", i, seen, written[i]);
			return false;
		}
		*checksum = (*checksum ^ seen) * 0x100000001b3ULL;
	}
	return true;
}

static void make_linears(void)
{
	static const uint64_t tops[3][4] = { { 272, 273, 528, 529 }, { 1, 2 }, { 1, 288 } };

	linear_count = 0;
	for (unsigned i = 0; i < (mode->levels == 2 ? 4U : 2U); i++) {
		uint64_t top = tops[mode->levels - 2][i] << level_shift(mode->levels);

		if (mode->levels == 4 && top & BIT(47))
			top |= 0xffff000000000000ULL;
		for (unsigned j = 0; j < (mode->levels == 4 ? 2U : 1U); j++)
			for (unsigned k = 0; k < (mode->levels == 2 ? 1U : 2U); k++)
				for (unsigned page = 0; page < 4; page++)
					linears[linear_count++] = top | (mode->levels == 4 ? j * GIB(1) : 0) |
								  (mode->levels == 2 ? 0 : (32 + k) * MIB(2)) | page * 4096ULL;
	}
}

void model_start(const struct mode *of, uint64_t seed)
{
	mode = of;
	random_state = seed;
	maxphyaddr = cpuid(0x80000008, 0).eax & 0xff;
	pages_1g = cpuid(0x80000001, 0).edx & BIT(26);
	smep = cpuid(7, 0).ebx & BIT(7);
	smap = cpuid(7, 0).ebx & BIT(20);
	memset(mirror, 0, sizeof(mirror));
	memset(maybe_accessed, 0, sizeof(maybe_accessed));
	memset(written, 0, sizeof(written));
	make_linears();
	for (unsigned frame = ROOTS; frame < TABLE_FRAMES; frame++)
		for (unsigned i = 0; i < used_count(); i++)
			put_entry(frame, used[i], random_entry(level_of_index(used[i])));
	for (unsigned frame = 0; frame < ROOTS; frame++) {
		for (unsigned i = 0; i < linear_count; i++)
			put_entry(frame, (unsigned)(linears[i] >> level_shift(mode->levels)) & ((1U << index_bits()) - 1),
			    is_pdpte_root(frame) ? pdpte() : random_entry(mode->levels));
		for (unsigned i = 0; i < 4096 / mode->entry; i++)
			if (run_fixed_entry(mode, i))
				put_entry(frame, i, run_fixed_entry(mode, i));
	}
	memcpy((void *)TABLES, mirror, sizeof(mirror));
	root = 0;
	cr0 = read_cr0() | CR0_WP;
	cr4 = CR4_PGE | (mode->levels > 2 ? CR4_PAE : 0) | (mode->pse ? BIT(4) : 0) | (read_cr4() & (BIT(9) | BIT(10)));
}
