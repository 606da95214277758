/* SOURCES: vmm/memory/guest_walk.c vmm/memory/guest_memory.c */
/* The guest's paging rules against tables written after the manual (SDM vol. 3, "Determination of Access Rights", "Protection Keys",
 * "Accessed and Dirty Flags", "Page-Fault Exceptions", and the figures and tables of the entries' formats): every combination of the bits
 * that count, by the rules alone and by whole walks of tables in each format. */
#include "tests/unit/unit.h"

#include <string.h>

#include "vmm/memory/paging_rules.h"

/* ---- The manual's tables ---- */

enum { READ, WRITE, FETCH };
enum { SUPERVISOR, USER };

/* What an access and a page are. `w`: R/W is 1 in all entries; `xd`: XD is 1 in one of them (bits 63 that count, that is). */
struct situation {
	unsigned mode, kind, page, w, xd, wp, smep, smap, ac, implicit;
};

/* "Determination of Access Rights", one row for each sentence that allows something. A dash: it may be either. All else is refused. */
static const struct {
	const char *mode, *kind, *page;
	const char *w, *xd, *wp, *smep, *smap, *ac, *implicit;
} allowed[] = {
	/*            mode  kind page   w    xd   wp   smep smap ac   implicit */
	/* Data may be read from any supervisor-mode address. */
	{ "S", "R", "S",  "-", "-", "-", "-", "-", "-", "-" },
	/* From a user-mode address: with SMAP 0; with SMAP 1 if AC is 1 and the access is explicit. */
	{ "S", "R", "U",  "-", "-", "-", "-", "0", "-", "-" },
	{ "S", "R", "U",  "-", "-", "-", "-", "1", "1", "0" },
	/* Data may be written to any supervisor-mode address with WP 0, and if R/W is 1 everywhere with WP 1. */
	{ "S", "W", "S",  "-", "-", "0", "-", "-", "-", "-" },
	{ "S", "W", "S",  "1", "-", "1", "-", "-", "-", "-" },
	/* To a user-mode address: the same, and SMAP as above. */
	{ "S", "W", "U",  "-", "-", "0", "-", "0", "-", "-" },
	{ "S", "W", "U",  "-", "-", "0", "-", "1", "1", "0" },
	{ "S", "W", "U",  "1", "-", "1", "-", "0", "-", "-" },
	{ "S", "W", "U",  "1", "-", "1", "-", "1", "1", "0" },
	/* Fetches from supervisor-mode addresses if XD is 0 everywhere; from user-mode addresses with SMEP 0 only. */
	{ "S", "X", "S",  "-", "0", "-", "-", "-", "-", "-" },
	{ "S", "X", "U",  "-", "0", "-", "0", "-", "-", "-" },
	/* User-mode accesses: user-mode addresses only; writes if R/W is 1 everywhere, fetches if XD is 0 everywhere. */
	{ "U", "R", "U",  "-", "-", "-", "-", "-", "-", "-" },
	{ "U", "W", "U",  "1", "-", "-", "-", "-", "-", "-" },
	{ "U", "X", "U",  "-", "0", "-", "-", "-", "-", "-" },
};

static bool bit_fits(const char *cell, unsigned value)
{
	return cell[0] == '-' || cell[0] == (value ? '1' : '0');
}

static bool manual_allows(const struct situation *s)
{
	for (unsigned i = 0; i < ARRAY_SIZE(allowed); i++)
		if (allowed[i].mode[0] == "SU"[s->mode] && allowed[i].kind[0] == "RWX"[s->kind] && allowed[i].page[0] == "SU"[s->page] &&
		    bit_fits(allowed[i].w, s->w) && bit_fits(allowed[i].xd, s->xd) && bit_fits(allowed[i].wp, s->wp) &&
		    bit_fits(allowed[i].smep, s->smep) && bit_fits(allowed[i].smap, s->smap) && bit_fits(allowed[i].ac, s->ac) &&
		    bit_fits(allowed[i].implicit, s->implicit))
			return true;
	return false;
}

/* "Protection Keys": what ADi and WDi refuse at user-mode addresses; fetches and supervisor-mode addresses have no key. */
static const struct {
	unsigned kind, mode, wp;
	const char *refused_by; /* of the page's two bits in PKRU */
} keys[] = {
	{ READ, SUPERVISOR, 0, "A" },  { READ, SUPERVISOR, 1, "A" },  { READ, USER, 0, "A" },   { READ, USER, 1, "A" },
	{ WRITE, SUPERVISOR, 0, "A" }, { WRITE, SUPERVISOR, 1, "AW" }, { WRITE, USER, 0, "AW" }, { WRITE, USER, 1, "AW" },
	{ FETCH, SUPERVISOR, 0, "" },  { FETCH, SUPERVISOR, 1, "" },  { FETCH, USER, 0, "" },   { FETCH, USER, 1, "" },
};

static bool manual_key_allows(unsigned kind, unsigned mode, unsigned wp, unsigned ad, unsigned wd)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].kind == kind && keys[i].mode == mode && keys[i].wp == wp)
			return !(ad && strchr(keys[i].refused_by, 'A')) && !(wd && strchr(keys[i].refused_by, 'W'));
	fail();
	return false;
}

/* The figures of the entries' formats: which bits must be 0. M is MAXPHYADDR. Bit 63 is reserved too wherever EFER.NXE is 0. */
#define M 100

static const struct {
	enum paging_format format;
	unsigned level;
	bool large;            /* the entry maps a page above level 1 */
	struct { unsigned high, low; } reserved[3]; /* of bits 62:0; 0 ends */
} formats[] = {
	{ PAGING_LONG, 5, false, { { 51, M }, { 7, 7 } } },
	{ PAGING_LONG, 4, false, { { 51, M }, { 7, 7 } } },
	{ PAGING_LONG, 3, false, { { 51, M } } },
	{ PAGING_LONG, 3, true, { { 51, M }, { 29, 13 } } },
	{ PAGING_LONG, 2, false, { { 51, M } } },
	{ PAGING_LONG, 2, true, { { 51, M }, { 20, 13 } } },
	{ PAGING_LONG, 1, false, { { 51, M } } },
	{ PAGING_PAE, 2, false, { { 62, M } } },
	{ PAGING_PAE, 2, true, { { 62, M }, { 20, 13 } } },
	{ PAGING_PAE, 1, false, { { 62, M } } },
	{ PAGING_32BIT, 2, false, { { 0, 0 } } },
	{ PAGING_32BIT, 2, true, { { 21, M - 19 } } }, /* PSE-36: M is 40 at most here, 32 at least */
	{ PAGING_32BIT, 1, false, { { 0, 0 } } },
};

static uint64_t manual_reserved(unsigned row, unsigned maxphyaddr, bool nxe)
{
	uint64_t mask = formats[row].format == PAGING_32BIT || nxe ? 0 : 1ULL << 63;

	if (formats[row].format == PAGING_32BIT && maxphyaddr > 40)
		maxphyaddr = 40;
	for (unsigned i = 0; i < 3 && formats[row].reserved[i].high; i++) {
		unsigned low = formats[row].reserved[i].low;

		if (low > 63)
			low = low - M + maxphyaddr; /* M, or M - 19 */
		for (unsigned bit = low; bit <= formats[row].reserved[i].high; bit++)
			mask |= 1ULL << bit;
	}
	return mask;
}

/* ---- A guest's tables in each format ---- */

#define RAM_SIZE 0x8000
#define LINEAR_LONG 0x0001812345678abcULL /* indexes of its own at each level */
#define LINEAR_LEGACY 0xc1234567ULL
#define TARGET 0x40000000ULL              /* aligned for every size of page, and not RAM */

static uint8_t ram[RAM_SIZE] __attribute__((aligned(4096)));
static struct guest_memory memory;
static struct guest_paging paging;
static uint64_t linear;
static unsigned top;

/* The table of level n is at n * 0x1000. */
static void *entry_at(enum paging_format format, unsigned level)
{
	if (format == PAGING_32BIT)
		return ram + level * 0x1000 + (level == 2 ? linear >> 22 : linear >> 12 & 1023) * 4;
	return ram + level * 0x1000 + (linear >> (3 + 9 * level) & 511) * 8;
}

static uint64_t get(enum paging_format format, unsigned level)
{
	return format == PAGING_32BIT ? *(uint32_t *)entry_at(format, level) : *(uint64_t *)entry_at(format, level);
}

static void set(enum paging_format format, unsigned level, uint64_t entry)
{
	if (format == PAGING_32BIT)
		*(uint32_t *)entry_at(format, level) = (uint32_t)entry;
	else
		*(uint64_t *)entry_at(format, level) = entry;
}

/* Tables that map a page at level `leaf`, with all rights. */
static void build(enum paging_format format, unsigned levels, unsigned leaf)
{
	memset(ram, 0, sizeof(ram));
	top = levels;
	linear = format == PAGING_LONG ? LINEAR_LONG : LINEAR_LEGACY;
	if (format == PAGING_LONG && levels == 4)
		linear &= 0x00007fffffffffffULL;
	for (unsigned level = top; level > leaf; level--)
		set(format, level, (level - 1) * 0x1000 | 7);
	set(format, leaf, TARGET | 7 | (leaf > 1 ? 0x80 : 0));
	paging = (struct guest_paging){
		.cr0 = CR0_PE | CR0_PG,
		.cr3 = top * 0x1000,
		.cr4 = (format == PAGING_32BIT ? CR4_PSE : CR4_PAE) | (levels == 5 ? CR4_LA57 : 0),
		.efer = format == PAGING_LONG ? EFER_LME | EFER_LMA | EFER_NXE : format == PAGING_PAE ? EFER_NXE : 0,
		.maxphyaddr = 40,
	};
	if (format == PAGING_PAE)
		paging.pdpte[linear >> 30] = top * 0x1000 | 1;
}

static int setup(void **state)
{
	(void)state;
	memset(&memory, 0, sizeof(memory));
	return guest_memory_add(&memory, 0, RAM_SIZE, ram);
}

static const struct {
	enum paging_format format;
	unsigned levels;
} kinds[] = { { PAGING_32BIT, 2 }, { PAGING_PAE, 2 }, { PAGING_LONG, 4 }, { PAGING_LONG, 5 } };

static unsigned flags_of(const struct situation *s)
{
	return (s->kind == WRITE ? WALK_WRITE : 0) | (s->kind == FETCH ? WALK_EXEC : 0) | (s->implicit ? WALK_IMPLICIT : 0);
}

/* The first situation in `bits` and its control registers. */
static struct situation situation_of(unsigned bits)
{
	struct situation s = { .kind = bits % 3 };

	bits /= 3;
	s.mode = bits & 1;
	s.page = bits >> 1 & 1;
	s.w = bits >> 2 & 1;
	s.xd = bits >> 3 & 1;
	s.wp = bits >> 4 & 1;
	s.smep = bits >> 5 & 1;
	s.smap = bits >> 6 & 1;
	s.ac = bits >> 7 & 1;
	s.implicit = bits >> 8 & 1;
	return s;
}

#define SITUATIONS (3 * 512)

static void enter(const struct situation *s)
{
	paging.cr0 = (paging.cr0 & ~CR0_WP) | (s->wp ? CR0_WP : 0);
	paging.cr4 = (paging.cr4 & ~(CR4_SMEP | CR4_SMAP)) | (s->smep ? CR4_SMEP : 0) | (s->smap ? CR4_SMAP : 0);
	paging.rflags_ac = s->ac;
	paging.cpl = s->mode == USER ? 3 : 0;
}

/* ---- Tests ---- */

static void test_rights(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < SITUATIONS; bits++) {
		struct situation s = situation_of(bits);
		struct paging_access access = { s.kind == WRITE, s.kind == FETCH, s.mode == USER, s.ac && !s.implicit };
		uint64_t rights = (s.w ? 2 : 0) | (s.page == USER ? 4 : 0), xd = s.xd ? 1ULL << 63 : 0;

		if (s.mode == USER && s.implicit)
			continue; /* there is no such access */
		enter(&s);
		/* No other bit of the entries counts. */
		for (unsigned noise = 0; noise < 2; noise++) {
			uint64_t other = noise ? ~(6 | 1ULL << 63) : 0;

			assert_int_equal(paging_allows(&paging, &access, rights | other, rights | other | xd), manual_allows(&s));
		}
		/* R/W and U/S count in all entries, not in any; XD the other way round. */
		assert_int_equal(paging_allows(&paging, &access, rights | 1ULL << 63, rights | 6 | xd), manual_allows(&s));
	}
}

/* Every combination of R/W, U/S and XD in every entry of the way, each kind of access, each setting of the control registers. */
static void test_rights_of_walks(void **state)
{
	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		enum paging_format format = kinds[k].format;
		unsigned levels = kinds[k].levels, bits_each = format == PAGING_32BIT ? 2 : 3;

		/* Five levels are as four: a part will do. */
		for (unsigned rights = 0; rights < 1U << (bits_each * levels); rights += levels == 5 ? 7 : 1) {
			struct situation page = { .w = 1, .page = USER };

			build(format, levels, 1);
			for (unsigned level = 1; level <= levels; level++) {
				unsigned mine = rights >> bits_each * (level - 1);
				uint64_t entry = get(format, level) & ~6ULL;

				set(format, level, entry | (mine & 1 ? 2 : 0) | (mine & 2 ? 4 : 0) | (bits_each == 3 && mine & 4 ? 1ULL << 63 : 0));
				page.w &= mine & 1;
				page.page &= mine >> 1 & 1;
				page.xd |= bits_each == 3 && mine & 4;
			}
			for (unsigned bits = 0; bits < 3 * 2; bits++) {
				for (unsigned control = 0; control < 32; control++) {
					struct situation s = { .kind = bits % 3, .mode = bits / 3, .page = page.page, .w = page.w, .xd = page.xd,
							       .wp = control & 1, .smep = control >> 1 & 1, .smap = control >> 2 & 1,
							       .ac = control >> 3 & 1, .implicit = control >> 4 & 1 };
					uint64_t gpa = 0;
					uint32_t error = 0;
					int result;

					enter(&s);
					if (s.implicit)
						s.mode = SUPERVISOR; /* at CPL 3, too */
					result = guest_walk(&memory, &paging, linear, flags_of(&s), &gpa, &error, NULL);
					if (manual_allows(&s)) {
						assert_int_equal(result, 0);
						assert_int_equal(gpa, TARGET | (linear & 0xfff));
					} else {
						assert_int_equal(result, ERR_NOENT);
						assert_int_equal(error & 9, 1);
					}
				}
			}
		}
	}
}

static void test_protection_keys(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 3 << 9; bits++) {
		unsigned kind = bits % 3, mode = bits / 3 & 1, page = bits / 3 >> 1 & 1, wp = bits / 3 >> 2 & 1, ad = bits / 3 >> 3 & 1,
			 wd = bits / 3 >> 4 & 1, key = (bits / 3 >> 5 & 3) * 5, enabled = bits / 3 >> 7 & 3;
		struct paging_access access = { kind == WRITE, kind == FETCH, mode == USER, true };
		/* All other keys have the opposite rights. */
		uint32_t mine = 3U << 2 * key, pkru = (ad ? 0x55555555 & mine : 0x55555555 & ~mine) | (wd ? 0xaaaaaaaa & mine : 0xaaaaaaaa & ~mine);
		bool counts = enabled == 3 && page == USER, allows = !counts || manual_key_allows(kind, mode, wp, ad, wd);
		uint32_t error;
		uint64_t gpa, entry = TARGET | 3 | (page == USER ? 4 : 0) | (uint64_t)key << 59;

		build(PAGING_LONG, 4, 1);
		set(PAGING_LONG, 1, entry);
		paging.cr0 |= wp ? CR0_WP : 0;
		paging.cr4 |= enabled & 1 ? CR4_PKE : 0;
		paging.efer &= enabled & 2 ? ~0ULL : ~EFER_LMA;
		paging.pkru = pkru;
		paging.cpl = mode == USER ? 3 : 0;
		assert_int_equal(paging_key_allows(&paging, &access, entry, entry), allows);
		if (!(enabled & 2) || (mode == USER && page == SUPERVISOR))
			continue;
		/* The key is the page's, whatever bits 62:59 of the other entries are. */
		set(PAGING_LONG, 2, get(PAGING_LONG, 2) | (15ULL - key) << 59);
		if (allows) {
			assert_int_equal(guest_walk(&memory, &paging, linear, kind == WRITE ? WALK_WRITE : kind == FETCH ? WALK_EXEC : 0, &gpa, &error,
						    NULL), 0);
		} else {
			assert_int_equal(guest_walk(&memory, &paging, linear, kind == WRITE ? WALK_WRITE : 0, &gpa, &error, NULL), ERR_NOENT);
			assert_int_equal(error, 0x21 | (kind == WRITE ? 2 : 0) | (mode == USER ? 4 : 0));
		}
	}
}

/* One bit more in an entry, in every entry of every format: it must be refused where the manual says that it is reserved, and nowhere
 * else. */
static void test_reserved_bits(void **state)
{
	(void)state;
	for (unsigned row = 0; row < ARRAY_SIZE(formats); row++) {
		enum paging_format format = formats[row].format;
		unsigned level = formats[row].level, levels = format == PAGING_LONG ? (level == 5 ? 5 : 4) : 2;

		for (unsigned maxphyaddr = 32; maxphyaddr <= 52; maxphyaddr++) {
			for (unsigned nxe = 0; nxe < 2; nxe++) {
				uint64_t reserved = manual_reserved(row, maxphyaddr, nxe);

				for (unsigned bit = 8; bit < (format == PAGING_32BIT ? 32 : 64); bit++) {
					unsigned at = bit == 8 ? 7 : bit; /* bits 0 to 6 are never reserved */
					uint32_t error = 0;
					uint64_t gpa;
					int result;

					build(format, levels, formats[row].large ? level : 1);
					paging.maxphyaddr = maxphyaddr;
					paging.efer = (paging.efer & ~EFER_NXE) | (nxe ? EFER_NXE : 0);
					if (at == 7 && (level == 2 || level == 3))
						continue; /* that makes it a page */
					/* The next table's address is not tried: there is no table elsewhere. */
					if (!(reserved >> at & 1) && level > 1 && !formats[row].large && at >= 12 && at < 52)
						continue;
					set(format, level, get(format, level) | 1ULL << at);
					if (at == 7 && level > 3)
						set(format, level, 0x87); /* nothing else that could be wrong in a page of this size */
					result = guest_walk(&memory, &paging, linear, WALK_READ, &gpa, &error, NULL);
					if (reserved >> at & 1) {
						assert_int_equal(result, ERR_NOENT);
						assert_int_equal(error, 9);
						/* Not in an entry that is not present. */
						set(format, level, get(format, level) & ~1ULL);
						assert_int_equal(guest_walk(&memory, &paging, linear, WALK_READ, &gpa, &error, NULL), ERR_NOENT);
						assert_int_equal(error, 0);
					} else {
						assert_int_equal(result, 0);
					}
				}
			}
		}
	}
}

static void test_pdpte_reserved(void **state)
{
	(void)state;
	assert_int_equal(paging_reserved(PAGING_32BIT, 32, false), 0);
	for (unsigned maxphyaddr = 32; maxphyaddr <= 52; maxphyaddr++)
		for (unsigned bit = 0; bit < 64; bit++)
			/* "PDPTE Registers": bits 2:1, 8:5 and 63:M. */
			assert_int_equal(paging_pdpte_reserved(maxphyaddr) >> bit & 1,
					 bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= maxphyaddr);
}

/* Pages of all sizes: every bit of the address that an entry can have. */
static void test_page_addresses(void **state)
{
	static const struct {
		enum paging_format format;
		unsigned levels, leaf, shift;
	} pages[] = {
		{ PAGING_LONG, 4, 1, 12 }, { PAGING_LONG, 4, 2, 21 }, { PAGING_LONG, 4, 3, 30 }, { PAGING_LONG, 5, 3, 30 },
		{ PAGING_PAE, 2, 1, 12 },  { PAGING_PAE, 2, 2, 21 },  { PAGING_32BIT, 2, 1, 12 }, { PAGING_32BIT, 2, 2, 22 },
	};

	uint64_t gpa_without_pse;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
		enum paging_format format = pages[i].format;
		bool pse_36 = format == PAGING_32BIT && pages[i].leaf == 2;
		unsigned width = format == PAGING_32BIT ? (pse_36 ? 40 : 32) : 52;

		for (unsigned bit = pages[i].shift; bit < width; bit++) {
			uint64_t gpa = 0, size = 0, entry;
			uint32_t error;

			build(format, pages[i].levels, pages[i].leaf);
			paging.maxphyaddr = 52;
			/* PSE-36: bits 39:32 of the address are bits 20:13 of the entry. Bit 12 is PAT. */
			entry = (get(format, pages[i].leaf) & ~TARGET) | 1ULL << (pse_36 && bit >= 32 ? bit - 32 + 13 : bit);
			entry |= pages[i].leaf > 1 ? 0x1000 : 0;
			/* Above the address: XD, and bits that 4-level paging ignores. */
			entry |= format == PAGING_LONG ? 0xfffULL << 52 : format == PAGING_PAE ? 1ULL << 63 : 0;
			set(format, pages[i].leaf, entry);
			assert_int_equal(guest_walk(&memory, &paging, linear, WALK_READ, &gpa, &error, &size), 0);
			assert_int_equal(size, 1ULL << pages[i].shift);
			assert_int_equal(gpa, 1ULL << bit | (linear & (size - 1)));
		}
	}
	/* Without CR4.PSE, PS is ignored in 32-bit paging. */
	build(PAGING_32BIT, 2, 1);
	set(PAGING_32BIT, 2, get(PAGING_32BIT, 2) | 0x80);
	paging.cr4 = 0;
	assert_int_equal(guest_walk(&memory, &paging, linear, WALK_READ, &gpa_without_pse, NULL, NULL), 0);
	assert_int_equal(gpa_without_pse, TARGET | (linear & 0xfff));
}

/* "Accessed and Dirty Flags": whichever are set before, after an access A is set in every entry and D, after a write, in the last. */
static void test_accessed_dirty(void **state)
{
	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		enum paging_format format = kinds[k].format;
		unsigned levels = kinds[k].levels;

		for (unsigned leaf = 1; leaf <= MIN(levels, 3U); leaf++) {
			for (unsigned before = 0; before < 1U << 2 * levels; before++) {
				for (unsigned kind = READ; kind <= FETCH; kind++) {
					uint64_t old[6], gpa;

					build(format, levels, leaf);
					for (unsigned level = leaf; level <= levels; level++) {
						unsigned mine = before >> 2 * (level - 1);

						old[level] = get(format, level) | (mine & 1 ? 0x20 : 0) | (mine & 2 ? 0x40 : 0);
						set(format, level, old[level]);
					}
					assert_int_equal(guest_walk(&memory, &paging, linear, WALK_SET_AD | (kind == WRITE ? WALK_WRITE : 0) |
								    (kind == FETCH ? WALK_EXEC : 0), &gpa, NULL, NULL), 0);
					for (unsigned level = leaf; level <= levels; level++)
						assert_int_equal(get(format, level), old[level] | 0x20 | (level == leaf && kind == WRITE ? 0x40 : 0));
				}
			}
		}
	}
}

/* An entry that is not what it was when it was read stays as it is. */
static void test_set_flags(void **state)
{
	uint64_t entry = 0x123456789abcde07;

	(void)state;
	assert_false(paging_set_flags(&entry, true, 0x123456789abcde06, 0));
	assert_false(paging_set_flags(&entry, true, 0x923456789abcde07, 0));
	assert_int_equal(entry, 0x123456789abcde07);
	assert_true(paging_set_flags(&entry, true, entry, 0x823456789abcde67));
	assert_int_equal(entry, 0x823456789abcde67);
	assert_false(paging_set_flags(&entry, false, 0x9abcde66, 0));
	assert_true(paging_set_flags(&entry, false, 0x9abcde67, 0x1abcde07));
	assert_int_equal(entry, 0x823456781abcde07); /* 4 bytes only */
}

/* "Page-Fault Exceptions": I/D is set for a fetch with SMEP, or with PAE and NXE. */
static void test_error_code(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 64 * 3; bits++) {
		unsigned kind = bits % 3, b = bits / 3, pae = b & 1, nxe = b >> 1 & 1, smep = b >> 2 & 1, user = b >> 3 & 1, cause = b >> 4 & 3;
		static const uint32_t causes[] = { 0, 1, 9, 33 };
		struct paging_access access = { .write = kind == WRITE, .fetch = kind == FETCH, .user = user };

		paging.cr4 = (pae ? CR4_PAE : 0) | (smep ? CR4_SMEP : 0);
		paging.efer = nxe ? EFER_NXE : 0;
		assert_int_equal(paging_fault_error(&paging, &access, causes[cause]),
				 causes[cause] | (kind == WRITE ? 2 : 0) | (user ? 4 : 0) |
				 (kind == FETCH && (smep || (pae && nxe)) ? 16 : 0));
	}
}

static void test_format(void **state)
{
	(void)state;
	assert_int_equal(paging_format(&(struct guest_paging){ .cr4 = CR4_PAE, .efer = EFER_LME }), PAGING_OFF);
	assert_int_equal(paging_format(&(struct guest_paging){ .cr0 = CR0_PG }), PAGING_32BIT);
	assert_int_equal(paging_format(&(struct guest_paging){ .cr0 = CR0_PG, .cr4 = CR4_PAE, .efer = EFER_NXE }), PAGING_PAE);
	assert_int_equal(paging_format(&(struct guest_paging){ .cr0 = CR0_PG, .cr4 = CR4_PAE, .efer = EFER_LMA }), PAGING_LONG);
}

static void test_canonical(void **state)
{
	(void)state;
	for (unsigned bits = 48; bits <= 57; bits += 9) {
		/* Bits 63 to bits - 1 are equal; one of them that differs is enough. */
		assert_true(paging_canonical((1ULL << (bits - 1)) - 1, bits));
		assert_true(paging_canonical(-(1ULL << (bits - 1)), bits));
		for (unsigned bit = bits - 1; bit < 64; bit++) {
			assert_false(paging_canonical(1ULL << bit, bits));
			assert_false(paging_canonical(~(1ULL << bit), bits));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rights, setup),
		cmocka_unit_test_setup(test_rights_of_walks, setup),
		cmocka_unit_test_setup(test_protection_keys, setup),
		cmocka_unit_test_setup(test_reserved_bits, setup),
		cmocka_unit_test_setup(test_pdpte_reserved, setup),
		cmocka_unit_test_setup(test_page_addresses, setup),
		cmocka_unit_test_setup(test_accessed_dirty, setup),
		cmocka_unit_test_setup(test_set_flags, setup),
		cmocka_unit_test_setup(test_error_code, setup),
		cmocka_unit_test_setup(test_format, setup),
		cmocka_unit_test_setup(test_canonical, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
