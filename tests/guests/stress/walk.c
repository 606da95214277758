#include "lib/string.h"
#include "tests/guests/stress/model.h"

/* A translation, or the upper part of one, that the CPU may hold; mixed: or others. */
struct held {
	bool valid, mixed;
	unsigned count, shift;
	uint64_t value[LEVELS_MAX];
	bool global;
};

const struct mode *mode;
uint64_t mirror[TABLE_FRAMES][512];
uint8_t maybe_accessed[TABLE_FRAMES][1024];
uint64_t linears[LINEARS_MAX];
unsigned linear_count, root, maxphyaddr;
uint64_t cr0, cr4;
bool pages_1g;

static struct held tlb[LINEARS_MAX], upper[LINEARS_MAX];

unsigned index_bits(void)
{
	return mode->entry == 4 ? 10 : 9;
}

unsigned level_shift(unsigned level)
{
	return 12 + (level - 1) * index_bits();
}

uint64_t get_entry(unsigned frame, unsigned index)
{
	return mode->entry == 4 ? ((const uint32_t *)mirror[frame])[index] : mirror[frame][index];
}

void put_entry(unsigned frame, unsigned index, uint64_t value)
{
	if (mode->entry == 4)
		((uint32_t *)mirror[frame])[index] = (uint32_t)value;
	else
		mirror[frame][index] = value;
	maybe_accessed[frame][index] = false;
}

bool is_table(uint64_t physical)
{
	return physical >= TABLES && physical < TABLES + TABLE_FRAMES * 4096ULL;
}

bool is_data(uint64_t physical)
{
	return physical >= DATA && physical < DATA + MIB(8) && (physical & (MIB(2) - 1)) < 4 * 4096;
}

uint64_t data_page(unsigned number)
{
	return DATA + number / 4 * MIB(2) + number % 4 * 4096;
}

unsigned page_number(uint64_t physical)
{
	return is_table(physical) ? 16 + (unsigned)((physical - TABLES) >> 12)
				  : (unsigned)((physical - DATA) / MIB(2) * 4 + (physical & (MIB(2) - 1)) / 4096);
}

/* SDM vol. 3, section 4.3 to 4.5: tables of the formats of the entries. */
static bool reserved_bits(uint64_t value, unsigned level, bool large)
{
	uint64_t reserved;

	if (mode->entry == 4)
		return large && (value & BIT(21));
	reserved = ADDRESS & ~(BIT(maxphyaddr) - 1);
	if (mode->legacy)
		reserved |= 0x7ff0000000000000ULL;
	if (!mode->nxe)
		reserved |= NX;
	if (level == 4 || (level == 3 && !pages_1g))
		reserved |= PS;
	if (large)
		reserved |= (BIT(level_shift(level)) - 1) & ~0x1fffULL;
	return value & reserved;
}

struct walk walk(uint64_t linear)
{
	struct walk w = { .user = true, .write = true };
	uint64_t table = TABLES + root * 4096ULL;

	for (unsigned level = mode->levels; level; level--) {
		unsigned index = (unsigned)(linear >> level_shift(level)) & ((1U << index_bits()) - 1);
		unsigned frame = (unsigned)((table - TABLES) >> 12);
		bool pdpte = mode->legacy && level == 3;
		uint64_t value;

		if (is_data(table)) { /* nothing in a data page looks like an entry that is present */
			w.fault = true;
			return w;
		}
		if (!is_table(table)) {
			w.unknown = true;
			return w;
		}
		value = get_entry(frame, index);
		w.step[w.count].frame = frame;
		w.step[w.count].index = index;
		w.step[w.count++].value = value;
		if (!(value & P)) {
			w.fault = true;
			return w;
		}
		w.shift = level_shift(level);
		if (pdpte) {
			table = value & ADDRESS;
			w.tables = w.count;
			continue;
		}
		w.large = level > 1 && (value & PS) && (mode->entry == 8 || mode->pse);
		if (reserved_bits(value, level, w.large)) {
			w.fault = w.reserved = true;
			return w;
		}
		w.user &= (value & U) != 0;
		w.write &= (value & W) != 0;
		w.nx |= mode->entry == 8 && (value & NX);
		if (w.large || level == 1) {
			uint64_t offset = BIT(w.shift) - 1;

			w.global = (value & G) && (cr4 & CR4_PGE);
			w.physical = (value & ADDRESS & ~offset) | (linear & offset & ~0xfffULL);
			return w;
		}
		table = value & ADDRESS;
		w.tables = w.count;
	}
	return w;
}

bool is_pdpte_root(unsigned frame)
{
	return frame < ROOTS && mode->legacy && mode->levels == 3;
}

/* ---- What the CPU may hold ---- */

static bool same_page(uint64_t a, uint64_t b, unsigned shift)
{
	return a >> shift == b >> shift;
}

/* An entry without A is not held, and one without D sets it when it is needed: what memory says of these does not count then. */
static bool same_entry(uint64_t held, uint64_t now)
{
	return !((held ^ now) & ~(~held & (A | D)));
}

bool settled(uint64_t linear, const struct walk *w)
{
	for (unsigned i = 0; i < linear_count; i++) {
		const struct held *h = &tlb[i];

		if (h->valid && same_page(linear, linears[i], h->shift)) {
			if (h->mixed || h->count != w->count)
				return false;
			for (unsigned step = 0; step < h->count; step++)
				if (!same_entry(h->value[step], w->step[step].value))
					return false;
		}
		h = &upper[i];
		if (h->valid && h->mixed && same_page(linear, linears[i], level_shift(mode->levels)))
			return false;
		for (unsigned step = 0; h->valid && step < h->count; step++) {
			if (!same_page(linear, linears[i], level_shift(mode->levels - step)))
				break;
			if (step >= w->count || !same_entry(h->value[step], w->step[step].value))
				return false;
		}
	}
	return true;
}

static void hold_entries(struct held *h, const struct walk *w, unsigned count)
{
	if (h->valid && (h->count != count || h->shift != w->shift))
		h->mixed = true;
	for (unsigned step = 0; step < count; step++) {
		uint64_t value = get_entry(w->step[step].frame, w->step[step].index);

		h->mixed |= h->valid && !same_entry(h->value[step], value);
		h->value[step] = value;
	}
	h->shift = h->valid ? MAX(h->shift, w->shift) : w->shift;
	h->global = w->global || (h->valid && h->global);
	h->count = count;
	h->valid = true;
}

/* The CPU has walked for this address: it may hold the tables' entries, and the translation where there was one. */
void hold(unsigned which, const struct walk *w)
{
	hold_entries(&upper[which], w, w->tables);
	if (!w->fault && !w->unknown)
		hold_entries(&tlb[which], w, w->count);
}

static void forget(struct held *h)
{
	h->valid = h->mixed = false;
}

void forget_all(void)
{
	memset(tlb, 0, sizeof(tlb));
	memset(upper, 0, sizeof(upper));
}

void forget_nonglobal(void)
{
	memset(upper, 0, sizeof(upper));
	for (unsigned i = 0; i < linear_count; i++)
		if (!tlb[i].global)
			forget(&tlb[i]);
}

/* One address of a large page suffices, if the page is still one. */
void forget_page(uint64_t linear)
{
	memset(upper, 0, sizeof(upper));
	for (unsigned i = 0; i < linear_count; i++) {
		struct walk w;

		if (!tlb[i].valid)
			continue;
		if (linears[i] == linear) {
			forget(&tlb[i]);
			continue;
		}
		w = walk(linear);
		if (!tlb[i].mixed && same_page(linear, linears[i], tlb[i].shift) && !w.fault && !w.unknown && w.shift == tlb[i].shift)
			forget(&tlb[i]);
	}
}
