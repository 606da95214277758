/* Tables out of sync, and writes to guest tables: when a guest may write to its leaf tables freely, how the shadow of such a table is
 * compared and mended afterwards, and what an emulated write to a table changes. */
#include "lib/x86/paging.h"
#include "vmm/shadow/shadow_page.h"

/* A guest's page that keeps being written and is not used as a table is most often no table any more: its shadow is dropped. */
#define IDLE_SYNCS 2   /* a leaf table: after so many syncs in a row that found changes, with no use of the table between */
#define WRITES_LIMIT 4 /* an upper table: after so many emulated writes with no use between */

/* See few_writes(). An epoch lasts from one load of CR3 to the next. */
#define EPOCHS_APART 4 /* a leaf table's write fault at most so many epochs after the last one lengthens its streak */
#define STREAK_LIMIT 3 /* after a streak of so many, the table is taken to get few writes at a time */
#define EPOCH_WRITES 4 /* with more emulated writes in one epoch it is not any more */

#define ORPHANS_MAX 16 /* tables without a parent that one write may drop at once; reclaim finds the others */

void shadow_unsync(struct shadow_mmu *mmu, struct shadow_page *sp)
{
	uint32_t number = (uint32_t)(sp - mmu->pages);

	sp->unsynced = true;
	if (mmu->unsynced) {
		struct shadow_page *first = &mmu->pages[mmu->unsynced];

		sp->unsynced_next = mmu->unsynced;
		sp->unsynced_prev = first->unsynced_prev;
		mmu->pages[first->unsynced_prev].unsynced_next = number;
		first->unsynced_prev = number;
	} else {
		sp->unsynced_next = sp->unsynced_prev = number;
	}
	mmu->unsynced = number;
	mmu->unsynced_count++;
}

void shadow_forget_unsynced(struct shadow_mmu *mmu, struct shadow_page *sp)
{
	uint32_t number = (uint32_t)(sp - mmu->pages);

	sp->unsynced = false;
	mmu->unsynced_count--;
	mmu->pages[sp->unsynced_prev].unsynced_next = sp->unsynced_next;
	mmu->pages[sp->unsynced_next].unsynced_prev = sp->unsynced_prev;
	if (mmu->unsynced == number)
		mmu->unsynced = sp->unsynced_next == number ? 0 : sp->unsynced_next;
}

/* Make a leaf table's entry anew from the guest's, or clear it where the guest's is not usable. Out of line, as most entries that are
 * compared have not changed. */
static __attribute__((noinline)) void entry_changed(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot, uint64_t entry)
{
	uint64_t gpa = entry & PTE_ADDRESS, hpa, size;
	uint32_t frame;

	mmu->stats.resynced_entries++;
	if (!shadow_usable(mmu, sp, entry) || !shadow_to_hpa(mmu, gpa, &hpa, &size)) {
		shadow_zap(mmu, sp, slot);
		sp->copy[slot] = 0;
		return;
	}
	frame = shadow_frame(mmu, gpa, 1);
	shadow_set_leaf(mmu, sp, slot, (hpa & PTE_ADDRESS) | shadow_leaf_flags(sp, entry, shadow_traced(mmu, frame), false), frame);
	sp->copy[slot] = entry;
}

bool shadow_sync_entry(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot)
{
	uint64_t entry;

	if (!sp->table[slot])
		return false;
	entry = shadow_guest_value(sp, slot);
	if (entry == sp->copy[slot])
		return false;
	entry_changed(mmu, sp, slot, entry);
	return true;
}

/* Compare 64 entries that may be present, eight at a time: this is most of what a resync costs. An entry that differs is read once more,
 * by itself, as the guest may be writing it. */
#define COMPARE_GROUP(type) do { \
		const type *now = (const type *)sp->guest + first; \
		const uint64_t *copy = sp->copy + first; \
		for (unsigned i = 0; i < 64; i += 8, now += 8, copy += 8) { \
			if (__builtin_expect(!((now[0] ^ copy[0]) | (now[1] ^ copy[1]) | (now[2] ^ copy[2]) | (now[3] ^ copy[3]) | \
					       (now[4] ^ copy[4]) | (now[5] ^ copy[5]) | (now[6] ^ copy[6]) | (now[7] ^ copy[7])), 1)) \
				continue; \
			for (unsigned j = 0; j < 8; j++) \
				if (now[j] != copy[j] && sp->table[first + i + j]) \
					changed |= shadow_sync_entry(mmu, sp, first + i + j); \
		} \
	} while (0)

/* Compare a leaf table with the guest's and mend it. Returns whether anything had changed. */
static bool compare_table(struct shadow_mmu *mmu, struct shadow_page *sp)
{
	bool changed = false, is_32bit = (sp->role & ROLE_FORMAT) == ROLE_32BIT;

	for (unsigned first = 0; first < PAGE_TABLE_ENTRIES; first += 64) {
		if (!(sp->touched & 1 << first / 64))
			continue;
		if (is_32bit)
			COMPARE_GROUP(uint32_t);
		else
			COMPARE_GROUP(uint64_t);
	}
	mmu->stats.resyncs++;
	return changed;
}
#undef COMPARE_GROUP

/* See to it that a write to the guest page at gpa faults. Returns whether anything mapped it writable, so that TLBs may still. */
static bool trace(struct shadow_mmu *mmu, uint64_t gpa)
{
	uint32_t frame = shadow_frame(mmu, gpa, 1);

	if (mmu->frames[frame] & FRAME_TRACED)
		return false;
	/* The full barrier: see shadow_written(). */
	__atomic_or_fetch(&mmu->frames[frame], FRAME_TRACED, __ATOMIC_SEQ_CST);
	return shadow_protect(mmu, gpa);
}

void shadow_sync_guest_page(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa)
{
	if (trace(mmu, gpa) || mmu->writable_unflushed)
		shadow_flush_everywhere(mmu, sv);
	/* From here on no vCPU writes to the table unnoticed. */
	for (struct shadow_page *sp = shadow_first(mmu, gpa); sp; sp = shadow_next(mmu, sp)) {
		if (!sp->unsynced)
			continue;
		shadow_forget_unsynced(mmu, sp);
		compare_table(mmu, sp);
	}
}

void shadow_sync_all(struct shadow_mmu *mmu, struct shadow_vcpu *sv)
{
	bool flush = false;
	uint32_t number = mmu->unsynced;

	/* Tables that went out of use while they were out of sync are not worth the comparison. */
	for (unsigned n = mmu->unsynced_count; n; n--) {
		struct shadow_page *sp = &mmu->pages[number];

		number = sp->unsynced_next;
		if (!sp->parents || sp->idle_syncs >= IDLE_SYNCS)
			shadow_drop(mmu, sp);
	}
	for (unsigned n = mmu->unsynced_count; n; n--) {
		struct shadow_page *sp = &mmu->pages[number];

		number = sp->unsynced_next;
		flush |= trace(mmu, sp->gpa);
	}
	if (flush || mmu->writable_unflushed)
		shadow_flush_everywhere(mmu, sv);
	while (mmu->unsynced) {
		struct shadow_page *sp = &mmu->pages[mmu->unsynced];

		shadow_forget_unsynced(mmu, sp);
		/* The TLB is flushed for these changes and forgets the links too, so that the next use sets their accessed flag again. */
		if (compare_table(mmu, sp) && !sp->filled_since_sync && !shadow_take_used(mmu, sp))
			sp->idle_syncs++;
		else
			sp->idle_syncs = 0;
		sp->filled_since_sync = false;
	}
}

/* Between two loads of CR3 some leaf tables get a write or two (a kernel with page-table isolation loads CR3 twice a page fault) and some
 * many (fork, exit). Going out of sync costs two faults and the comparison, which pays only for tables with many writes: learn which
 * kind a table is. Called at a write fault; returns whether to emulate the write. */
static bool few_writes(const struct shadow_mmu *mmu, struct shadow_page *sp)
{
	uint32_t age = mmu->epoch - sp->epoch;

	sp->epoch = mmu->epoch;
	if (sp->emulate_writes) {
		sp->streak = age ? 1 : sp->streak + 1;
		if (sp->streak > EPOCH_WRITES) {
			sp->emulate_writes = false;
			sp->streak = 0;
		}
		return sp->emulate_writes;
	}
	sp->streak = age <= EPOCHS_APART ? sp->streak + 1 : 0;
	if (sp->streak < STREAK_LIMIT)
		return false;
	sp->emulate_writes = true;
	sp->streak = 1;
	return true;
}

bool shadow_untrace(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa)
{
	struct shadow_page *sp, *next;
	uint64_t page = gpa & PAGE_MASK;
	bool leaves = true, in_use = false, emulate = false;
	unsigned count = 0;

	for (sp = shadow_first(mmu, page); sp; sp = shadow_next(mmu, sp)) {
		leaves &= shadow_level(sp) == 1;
		in_use |= sp->pins || sp->writes_since_use < WRITES_LIMIT;
		count++;
	}
	if (!leaves) {
		if (in_use)
			return false;
		for (sp = shadow_first(mmu, page); sp; sp = next) {
			next = shadow_next(mmu, sp);
			shadow_drop(mmu, sp);
		}
		return true;
	}
	for (sp = shadow_first(mmu, page); sp; sp = shadow_next(mmu, sp))
		emulate |= few_writes(mmu, sp);
	if (emulate)
		return false;
	while (mmu->unsynced_count && mmu->unsynced_count + count > UNSYNCED_MAX)
		shadow_sync_guest_page(mmu, sv, mmu->pages[mmu->pages[mmu->unsynced].unsynced_prev].gpa);
	for (sp = shadow_first(mmu, page); sp; sp = shadow_next(mmu, sp))
		shadow_unsync(mmu, sp);
	mmu->frames[shadow_frame(mmu, page, 1)] &= ~(uint32_t)FRAME_TRACED;
	return true;
}

bool shadow_rewritten(struct shadow_mmu *mmu, uint64_t gpa)
{
	uint64_t page = gpa & PAGE_MASK;
	struct shadow_page *sp, *next;
	bool in_use = false;

	spin_lock(&mmu->lock);
	for (sp = shadow_first(mmu, page); sp; sp = shadow_next(mmu, sp))
		in_use |= sp->pins != 0;
	for (sp = in_use ? NULL : shadow_first(mmu, page); sp; sp = next) {
		next = shadow_next(mmu, sp);
		shadow_drop(mmu, sp);
	}
	spin_unlock(&mmu->lock);
	return !in_use;
}

/* The guest's entry behind an entry above the leaf tables may have changed: keep the entry, with new rights, if it still leads to the same
 * table, else clear it. A child that lost its last parent goes to `orphans`. */
static void upper_entry_written(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot, struct shadow_page **orphans, unsigned *count)
{
	uint64_t entry, old = sp->table[slot];
	struct shadow_page *child = NULL;

	if (!old)
		return;
	entry = shadow_guest_value(sp, slot);
	if (!shadow_is_leaf(sp, old)) {
		child = shadow_child(mmu, old);
		if (shadow_usable(mmu, sp, entry) && shadow_guest_link(sp->role, shadow_level(sp), entry) &&
		    !shadow_is_direct(child) && child->gpa == (entry & PTE_ADDRESS) && !(sp->role & ROLE_WP0)) {
			shadow_set_link(mmu, sp, slot, child, PTE_A | (entry & (PTE_W | PTE_U | PTE_NX)));
			return;
		}
	}
	shadow_zap(mmu, sp, slot);
	if (child && !child->parents && !child->pins && *count < ORPHANS_MAX)
		orphans[(*count)++] = child;
}

/* A new entry that the guest has marked as accessed already is for the page that it will use next. */
static void make_early(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot)
{
	uint64_t entry = shadow_guest_value(sp, slot);

	if ((entry & (PTE_P | PTE_A)) == (PTE_P | PTE_A))
		entry_changed(mmu, sp, slot, entry);
}

/* The bytes first..end-1 of the guest's table have been written: bring the entries made from them in line. */
static void table_written(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned first, unsigned end, struct shadow_page **orphans,
			  unsigned *count)
{
	unsigned level = shadow_level(sp), shift = 3, quadrant = (sp->role & ROLE_QUADRANT) >> ROLE_QUADRANT_SHIFT, slot, last;

	if ((sp->role & ROLE_FORMAT) == ROLE_32BIT) {
		unsigned part = level == 1 ? 2048 : 1024, start = quadrant * part;

		if (end <= start || first >= start + part)
			return;
		first = first < start ? 0 : first - start;
		end = MIN(end - start, part);
		shift = level == 1 ? 2 : 1; /* a PDE of 4 bytes stands behind two slots */
		first &= ~3U;
		end = ALIGN_UP(end, 4);
	}
	last = (end - 1) >> shift;
	for (slot = first >> shift; slot <= last; slot++) {
		if (level == 1 && !sp->table[slot]) {
			make_early(mmu, sp, slot);
			continue;
		}
		if (!(sp->touched & 1 << slot / 64)) {
			slot |= 63;
			continue;
		}
		mmu->stats.writes_seen++;
		if (level == 1)
			shadow_sync_entry(mmu, sp, slot);
		else
			upper_entry_written(mmu, sp, slot, orphans, count);
	}
	if (level > 1 && sp->writes_since_use < UINT8_MAX)
		sp->writes_since_use++;
}

static void page_written(struct shadow_mmu *mmu, uint64_t gpa, unsigned first, unsigned end)
{
	struct shadow_page *orphans[ORPHANS_MAX];
	unsigned count = 0;

	for (struct shadow_page *sp = shadow_first(mmu, gpa); sp; sp = shadow_next(mmu, sp))
		if (!sp->unsynced)
			table_written(mmu, sp, first, end, orphans, &count);
	for (unsigned i = 0; i < count; i++) {
		/* The same child may be listed twice, or have got a parent again. */
		if (orphans[i]->live && !orphans[i]->parents)
			shadow_drop(mmu, orphans[i]);
	}
}

void shadow_written(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa, uint64_t size)
{
	(void)sv;
	/* If this core does not see the traced flag, the core that sets it and reads the table afterwards must see what was written here. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (size) {
		uint64_t part = MIN(size, PAGE_SIZE - (gpa & (PAGE_SIZE - 1)));
		uint32_t frame = shadow_frame(mmu, gpa, 1);

		if (frame == NO_FRAME)
			return;
		if (__atomic_load_n(&mmu->frames[frame], __ATOMIC_RELAXED) & FRAME_TRACED) {
			spin_lock(&mmu->lock);
			page_written(mmu, gpa & PAGE_MASK, (unsigned)(gpa & (PAGE_SIZE - 1)),
				     (unsigned)(gpa & (PAGE_SIZE - 1)) + (unsigned)part);
			spin_unlock(&mmu->lock);
		}
		gpa += part;
		size -= part;
	}
}
