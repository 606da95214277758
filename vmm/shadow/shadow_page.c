/* Shadow tables and the pages that they live in: how a table is found in the hash, made, dropped, and reclaimed when pages run short. */
#include "vmm/shadow/shadow_page.h"

#include "lib/string.h"

static inline unsigned bucket_of(const struct shadow_mmu *mmu, uint64_t gpa)
{
	return (unsigned)((gpa >> 12) * 0x9e3779b97f4a7c15ULL >> mmu->hash_shift);
}

/* Page 0 is a vCPU's PDPTEs and never in the hash: 0 ends the chains. */
static inline struct shadow_page *next_of(const struct shadow_mmu *mmu, uint32_t number, uint64_t gpa)
{
	while (number) {
		struct shadow_page *sp = &mmu->pages[number];

		/* A direct table has no guest page: its gpa is that of the memory it maps. */
		if (sp->gpa == gpa && !shadow_is_direct(sp))
			return sp;
		number = sp->next;
	}
	return NULL;
}

struct shadow_page *shadow_first(const struct shadow_mmu *mmu, uint64_t gpa)
{
	return next_of(mmu, mmu->hash[bucket_of(mmu, gpa)], gpa);
}

struct shadow_page *shadow_next(const struct shadow_mmu *mmu, const struct shadow_page *sp)
{
	return next_of(mmu, sp->next, sp->gpa);
}

struct shadow_page *shadow_find(const struct shadow_mmu *mmu, uint64_t gpa, uint32_t role)
{
	uint32_t number = mmu->hash[bucket_of(mmu, gpa)];

	while (number) {
		struct shadow_page *sp = &mmu->pages[number];

		if (sp->gpa == gpa && sp->role == role)
			return sp;
		number = sp->next;
	}
	return NULL;
}

/* A table takes two free pages or three: its entries, their links and, for a guest's leaf table, the copy. Only the first page's element of
 * mmu->pages describes a table. */
static struct shadow_page *take_page(struct shadow_mmu *mmu)
{
	struct shadow_page *sp = &mmu->pages[mmu->free_pages];

	mmu->free_pages = sp->next;
	mmu->free_count--;
	return sp;
}

static void give_page(struct shadow_mmu *mmu, void *companion)
{
	struct shadow_page *sp = &mmu->pages[((uint8_t *)companion - (uint8_t *)mmu->config.tables) / PAGE_SIZE];

	sp->next = mmu->free_pages;
	mmu->free_pages = (uint32_t)(sp - mmu->pages);
	mmu->free_count++;
}

/* The guest's page became a table, or is none any more: large pages over it may not be mapped as such, or may. */
static void count_table(struct shadow_mmu *mmu, uint64_t gpa, int by)
{
	for (unsigned level = 2; level <= 3; level++) {
		uint32_t block = shadow_frame(mmu, gpa, level);

		if (block != NO_FRAME)
			mmu->tables_in_block[block - mmu->first_block] += (uint32_t)by;
	}
}

/* Keep the rule: the guest's page is traced if, and only if, all its tables are in sync; only leaf tables may be out of sync. */
static void trace_new(struct shadow_mmu *mmu, struct shadow_vcpu *sv, struct shadow_page *sp)
{
	uint32_t frame = shadow_frame(mmu, sp->gpa, 1);

	if (!(mmu->frames[frame] & FRAME_SHADOWED)) {
		mmu->frames[frame] |= FRAME_SHADOWED;
		count_table(mmu, sp->gpa, 1);
	}
	if (mmu->frames[frame] & FRAME_TRACED)
		return;
	/* It need not be protected before the next flush point: most new leaf tables are written some more first. */
	if (shadow_level(sp) == 1)
		shadow_unsync(mmu, sp);
	else
		shadow_sync_guest_page(mmu, sv, sp->gpa);
}

static struct shadow_page *make(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa, uint32_t role)
{
	struct shadow_page *sp;
	unsigned bucket = bucket_of(mmu, gpa), quadrant = (role & ROLE_QUADRANT) >> ROLE_QUADRANT_SHIFT, level = role & ROLE_LEVEL;

	/* A TLB may still lead to a page that was freed: it must not see what the page becomes. */
	if (mmu->retired)
		shadow_flush_everywhere(mmu, sv);
	/* This is done here and not in trace_new(), so that the table that goes back in sync is not the new one. */
	if (mmu->unsynced_count >= UNSYNCED_MAX && level == 1)
		shadow_sync_guest_page(mmu, sv, mmu->pages[mmu->pages[mmu->unsynced].unsynced_prev].gpa);
	sp = take_page(mmu);
	memset(sp->table, 0, PAGE_SIZE);
	sp->links = (struct shadow_link *)take_page(mmu)->table;
	sp->copy = NULL;
	sp->guest = NULL;
	sp->gpa = gpa;
	sp->role = role;
	sp->parents = 0;
	sp->pins = 0;
	sp->touched = 0;
	sp->writes_since_use = 0;
	sp->unsynced = false;
	sp->filled_since_sync = true;
	sp->idle_syncs = 0;
	sp->emulate_writes = false;
	sp->streak = 0;
	sp->epoch = mmu->epoch;
	sp->live = true;
	sp->next = mmu->hash[bucket];
	mmu->hash[bucket] = (uint32_t)(sp - mmu->pages);
	mmu->stats.tables_made++;
	if (!(role & ROLE_FORMAT))
		return sp;
	if (level == 1) {
		sp->copy = take_page(mmu)->table;
		memset(sp->copy, 0, PAGE_SIZE);
	}
	sp->guest = shadow_ram(mmu, gpa, PAGE_SIZE);
	if (!sp->guest)
		return sp;
	/* 1024 entries of 4 bytes: two tables at level 1, and four of 256 PDEs at level 2. */
	if ((role & ROLE_FORMAT) == ROLE_32BIT)
		sp->guest = (uint8_t *)sp->guest + (size_t)quadrant * (level == 1 ? 2048 : 1024);
	trace_new(mmu, sv, sp);
	return sp;
}

struct shadow_page *shadow_get(struct shadow_mmu *mmu, struct shadow_vcpu *sv, uint64_t gpa, uint32_t role)
{
	struct shadow_page *sp = shadow_find(mmu, gpa, role);

	if (!sp)
		sp = make(mmu, sv, gpa, role);
	sp->used_since_reclaim = true;
	return sp;
}

/* A table of the guest page at gpa went: if it was the last, the page is an ordinary one again. */
static void untrace_last(struct shadow_mmu *mmu, uint64_t gpa)
{
	uint32_t frame;

	if (shadow_first(mmu, gpa))
		return;
	frame = shadow_frame(mmu, gpa, 1);
	mmu->frames[frame] &= FRAME_CODE;
	count_table(mmu, gpa, -1);
}

void shadow_drop(struct shadow_mmu *mmu, struct shadow_page *sp)
{
	uint32_t *at = &mmu->hash[bucket_of(mmu, sp->gpa)], number = (uint32_t)(sp - mmu->pages);

	for (unsigned group = 0; group < 8; group++)
		if (sp->touched & 1 << group)
			for (unsigned slot = group * 64; slot < group * 64 + 64; slot++)
				shadow_zap(mmu, sp, slot);
	while (sp->parents)
		shadow_zap(mmu, shadow_of_code(mmu, sp->parents), (sp->parents - 1) % PAGE_TABLE_ENTRIES);
	while (*at != number)
		at = &mmu->pages[*at].next;
	*at = sp->next;
	if (sp->unsynced)
		shadow_forget_unsynced(mmu, sp);
	sp->live = false;
	if (sp->guest)
		untrace_last(mmu, sp->gpa);
	give_page(mmu, sp->links);
	if (sp->copy)
		give_page(mmu, sp->copy);
	give_page(mmu, sp->table);
	mmu->retired = true;
	mmu->stats.tables_dropped++;
}

/* Reclaim goes round all pages and gives each table a second chance: a table that was of use since reclaim last came by stays this time.
 * Two rounds are always enough, as the first one takes that mark away. */
void shadow_reserve(struct shadow_mmu *mmu)
{
	unsigned goal = MAX(2 * PAGES_RESERVE, mmu->config.table_pages / 16);

	if (__builtin_expect(mmu->free_count >= PAGES_RESERVE, 1))
		return;
	for (unsigned n = 0; n < 2 * mmu->config.table_pages && mmu->free_count < goal; n++) {
		struct shadow_page *sp = &mmu->pages[mmu->reclaim_next];

		if (++mmu->reclaim_next == mmu->config.table_pages)
			mmu->reclaim_next = 0;
		if (!sp->live || sp->pins)
			continue;
		if (sp->used_since_reclaim) {
			sp->used_since_reclaim = false;
			continue;
		}
		shadow_drop(mmu, sp);
		mmu->stats.tables_reclaimed++;
	}
}
