/* Entries of shadow tables and the lists that join them: each writable mapping of a page, and each link to a table, can be found from its
 * target. */
#include "lib/x86/paging.h"
#include "vmm/shadow/shadow_page.h"

/* A list's links are in the tables' companion pages (`links`). Its head is a table's `parents` or, for leaves, an element of mmu->frames. */

static inline struct shadow_link *link_of(const struct shadow_mmu *mmu, uint32_t code)
{
	return &shadow_of_code(mmu, code)->links[(code - 1) % PAGE_TABLE_ENTRIES];
}

static inline uint32_t head_get(const uint32_t *head)
{
	return *head & FRAME_CODE;
}

static inline void head_set(uint32_t *head, uint32_t code)
{
	*head = (*head & ~FRAME_CODE) | code;
}

static inline void list_add(struct shadow_mmu *mmu, uint32_t *head, uint32_t number, struct shadow_page *sp, unsigned slot)
{
	uint32_t code = shadow_code(mmu, sp, slot), next = head_get(head);

	sp->links[slot] = (struct shadow_link){ .prev = (uint32_t)LINK_HEAD | number, .next = next };
	if (next)
		link_of(mmu, next)->prev = code;
	head_set(head, code);
}

static inline void list_remove(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot, bool leaf)
{
	struct shadow_link link = sp->links[slot];

	if (link.next)
		link_of(mmu, link.next)->prev = link.prev;
	if (link.prev & LINK_HEAD) {
		uint32_t number = link.prev & ~(uint32_t)LINK_HEAD;

		head_set(leaf ? &mmu->frames[number] : &mmu->pages[number].parents, link.next);
	} else {
		link_of(mmu, link.prev)->next = link.next;
	}
}

static inline void store(struct shadow_page *sp, unsigned slot, uint64_t entry)
{
	__atomic_store_n(&sp->table[slot], entry, __ATOMIC_RELEASE);
}

/* Take the entry off its list before it changes, and count what TLBs may still hold. */
static void unlist(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot, uint64_t old)
{
	bool leaf = shadow_is_leaf(sp, old);

	if (old & PTE_LISTED) {
		list_remove(mmu, sp, slot, leaf);
		if (leaf)
			mmu->writable_unflushed = true;
	}
	mmu->entry_changes++;
	if (!leaf)
		mmu->link_changes++;
	/* A vCPU's PDPTEs change only when it loads CR3 or when a table that they lead to is dropped, and both flush. */
	if (shadow_level(sp) > 1 && sp->live)
		mmu->upper_changes++;
}

void shadow_zap(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot)
{
	uint64_t old = sp->table[slot];

	if (!old)
		return;
	unlist(mmu, sp, slot, old);
	store(sp, slot, 0);
}

void shadow_set_leaf(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot, uint64_t entry, uint32_t frame)
{
	uint64_t old = sp->table[slot];

	if (!(entry & PTE_W))
		frame = NO_FRAME;
	if (old) {
		/* A right more for the same page leaves nothing wrong in a TLB: it only costs the next access there a fault. */
		if (!(old & PTE_LISTED) && old == (entry & ~PTE_W) && shadow_is_leaf(sp, old))
			goto set;
		if (old == (entry | (frame != NO_FRAME ? PTE_LISTED : 0)))
			return;
		unlist(mmu, sp, slot, old);
	}
set:
	if (frame != NO_FRAME) {
		list_add(mmu, &mmu->frames[frame], frame, sp, slot);
		entry |= PTE_LISTED;
	}
	sp->touched |= (uint8_t)(1 << slot / 64);
	store(sp, slot, entry);
}

void shadow_set_link(struct shadow_mmu *mmu, struct shadow_page *sp, unsigned slot, struct shadow_page *child, uint64_t flags)
{
	uint64_t old = sp->table[slot];
	uint64_t entry = child->table_phys | flags | PTE_P | PTE_LISTED;

	if (old == entry)
		return;
	if (old && !shadow_is_leaf(sp, old) && (old & PTE_ADDRESS) == (entry & PTE_ADDRESS)) {
		mmu->link_changes++;
		if ((old & ~entry & (PTE_W | PTE_U)) || (entry & ~old & PTE_NX)) {
			mmu->entry_changes++;
			mmu->upper_changes++;
		}
	} else {
		if (old)
			unlist(mmu, sp, slot, old);
		list_add(mmu, &child->parents, (uint32_t)(child - mmu->pages), sp, slot);
	}
	sp->touched |= (uint8_t)(1 << slot / 64);
	sp->writes_since_use = 0;
	store(sp, slot, entry);
}

bool shadow_take_used(struct shadow_mmu *mmu, const struct shadow_page *sp)
{
	uint32_t code = head_get(&sp->parents);
	uint64_t *link;

	if (!code)
		return false;
	link = &shadow_of_code(mmu, code)->table[(code - 1) % PAGE_TABLE_ENTRIES];
	if (!(__atomic_load_n(link, __ATOMIC_RELAXED) & PTE_A))
		return false;
	__atomic_and_fetch(link, ~PTE_A, __ATOMIC_RELAXED);
	return true;
}

bool shadow_protect(struct shadow_mmu *mmu, uint64_t gpa)
{
	bool any = false;

	for (unsigned level = 1; level <= 3; level++) {
		uint32_t frame = shadow_frame(mmu, gpa, level), code;

		while (frame != NO_FRAME && (code = head_get(&mmu->frames[frame]))) {
			struct shadow_page *sp = shadow_of_code(mmu, code);
			unsigned slot = (code - 1) % PAGE_TABLE_ENTRIES;
			uint64_t old = sp->table[slot];

			any = true;
			list_remove(mmu, sp, slot, true);
			/* A large page is made anew in pieces; a small one just loses the right. */
			store(sp, slot, level == 1 ? old & ~(PTE_W | PTE_LISTED) : 0);
			mmu->entry_changes++;
			if (level > 1)
				mmu->upper_changes++;
		}
	}
	return any;
}
