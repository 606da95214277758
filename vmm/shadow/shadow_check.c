/* The shadow MMU checked against itself: every entry, link, list and count is compared with what it should be. Only tests call it. */
#include "lib/x86/paging.h"
#include "vmm/shadow/shadow_page.h"

/* Whether the entry is on the list that starts at `head`, and its neighbours know it. */
static bool listed(const struct shadow_mmu *mmu, uint32_t head, uint32_t code)
{
	uint32_t before = 0;

	/* No list is longer than there are entries. */
	for (uint64_t n = 0; head && n < (uint64_t)mmu->config.table_pages * PAGE_TABLE_ENTRIES; n++) {
		const struct shadow_link *link = &shadow_of_code(mmu, head)->links[(head - 1) % PAGE_TABLE_ENTRIES];

		if (before ? link->prev != before : !(link->prev & LINK_HEAD))
			return false;
		if (head == code)
			return true;
		before = head;
		head = link->next;
	}
	return false;
}

static const char *check_entry(const struct shadow_mmu *mmu, const struct shadow_page *sp, unsigned slot)
{
	uint64_t entry = sp->table[slot], pool = (uint64_t)mmu->config.table_pages * PAGE_SIZE;
	uint64_t pa = entry & PTE_ADDRESS & ~(shadow_level(sp) > 1 && (entry & PTE_PS) ? PTE_PAT_LARGE : 0);

	if (!entry)
		return NULL;
	if (!(entry & PTE_P))
		return "an entry that is neither present nor 0";
	if (sp->live && !(sp->touched & 1 << slot / 64))
		return "an entry in an untouched group";
	if (!shadow_is_leaf(sp, entry)) {
		const struct shadow_page *child;

		if (pa - mmu->config.tables_phys >= pool)
			return "a link out of the pool";
		child = shadow_child(mmu, entry);
		if (!child->live || shadow_level(child) + 1 != shadow_level(sp))
			return "a link to what is no table of the next level";
		if (!(entry & PTE_LISTED) || !listed(mmu, child->parents, shadow_code(mmu, sp, slot)))
			return "a link that its child does not know";
		return NULL;
	}
	if (pa - mmu->config.tables_phys < pool)
		return "a page of tables is mapped";
	if ((entry & PTE_LISTED) && !(entry & PTE_W))
		return "a listed entry that is not writable";
	return NULL;
}

static const char *check_page(const struct shadow_mmu *mmu, const struct shadow_page *sp)
{
	const char *wrong;
	unsigned entries = sp->live ? PAGE_TABLE_ENTRIES : 4;

	for (unsigned slot = 0; slot < entries; slot++) {
		wrong = check_entry(mmu, sp, slot);
		if (wrong)
			return wrong;
	}
	if (!sp->live)
		return NULL;
	if (shadow_find(mmu, sp->gpa, sp->role) != sp)
		return "a table that is not in the hash, or twice";
	if (sp->guest) {
		uint32_t frame = mmu->frames[shadow_frame(mmu, sp->gpa, 1)];

		if (!(frame & FRAME_SHADOWED))
			return "a table's page is not known as one";
		if (!(frame & FRAME_TRACED) != sp->unsynced)
			return "a table in sync that is not traced, or the reverse";
		if (sp->unsynced && shadow_level(sp) != 1)
			return "an upper table out of sync";
	}
	if (sp->copy && !sp->unsynced)
		for (unsigned slot = 0; slot < PAGE_TABLE_ENTRIES; slot++)
			if (sp->table[slot] && ((shadow_guest_value(sp, slot) ^ sp->copy[slot]) & ~(PTE_A | PTE_D)))
				return "a table in sync that is not";
	return NULL;
}

/* Every writable mapping of RAM: to no page that is traced, and known to the page. */
static const char *check_frames(const struct shadow_mmu *mmu)
{
	for (unsigned i = 0; i < mmu->region_count; i++) {
		for (uint64_t offset = 0; offset + PAGE_SIZE <= mmu->region[i].size; offset += PAGE_SIZE) {
			uint64_t gpa = mmu->region[i].gpa + offset;
			uint32_t frame = shadow_frame(mmu, gpa, 1);

			if (!(mmu->frames[frame] & FRAME_SHADOWED) != !shadow_first(mmu, gpa))
				return "a page is said to be a table and is not, or the reverse";
			if (!(mmu->frames[frame] & FRAME_TRACED))
				continue;
			for (unsigned level = 1; level <= 3; level++) {
				uint32_t block = shadow_frame(mmu, gpa, level);

				if (block != NO_FRAME && (mmu->frames[block] & FRAME_CODE))
					return "a traced page is mapped writable";
			}
		}
	}
	return NULL;
}

const char *shadow_check(struct shadow_mmu *mmu)
{
	const char *wrong = NULL;
	unsigned unsynced = 0, free_pages = 0;

	spin_lock(&mmu->lock);
	for (unsigned i = 0; i < mmu->config.table_pages && !wrong; i++) {
		const struct shadow_page *sp = &mmu->pages[i];

		if (!sp->live && i >= mmu->config.vcpus)
			continue;
		unsynced += sp->live && sp->unsynced;
		wrong = check_page(mmu, sp);
	}
	for (uint32_t n = mmu->free_pages; n != mmu->config.table_pages && free_pages <= mmu->config.table_pages; n = mmu->pages[n].next)
		free_pages++;
	if (!wrong)
		wrong = check_frames(mmu);
	if (!wrong && unsynced != mmu->unsynced_count)
		wrong = "the count of tables out of sync";
	if (!wrong && free_pages != mmu->free_count)
		wrong = "the count of free pages";
	spin_unlock(&mmu->lock);
	return wrong;
}
