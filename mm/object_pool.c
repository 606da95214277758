#include "mm/object_pool.h"

#include "lib/log.h"
#include "lib/string.h"

#define OBJECT_ALIGN 16

/* A slot of 16 bytes is the smallest, so a page has at most 256 of them, as many as a row of in_use has bits. */
_Static_assert(PAGE_SIZE / OBJECT_ALIGN == 4 * 64, "in_use has a bit for each slot of a page");

int object_pool_init(struct object_pool *objects, struct pool *pool, const char *name, unsigned size, unsigned limit)
{
	if (!size || size > PAGE_SIZE || !limit)
		return ERR_INVALID;
	size = ALIGN_UP(size, OBJECT_ALIGN);
	if (limit > OBJECT_POOL_PAGES_MAX * (PAGE_SIZE / size))
		return ERR_INVALID;
	memset(objects, 0, sizeof(*objects));
	objects->pool = pool;
	objects->name = name;
	objects->size = size;
	objects->per_page = PAGE_SIZE / size;
	objects->limit = limit;
	return 0;
}

/* Page and slot of an object; false where the pointer is not the start of a slot. */
static bool locate(const struct object_pool *objects, const void *object, unsigned *page, unsigned *slot)
{
	for (unsigned i = 0; i < objects->pages; i++) {
		uintptr_t offset = (uintptr_t)object - (uintptr_t)objects->page[i];

		if (offset >= PAGE_SIZE)
			continue;
		*page = i;
		*slot = (unsigned)offset / objects->size;
		return offset % objects->size == 0;
	}
	return false;
}

/* A slot that was never used; takes another page where it must. */
static void *cut_slot(struct object_pool *objects)
{
	unsigned slot = objects->made % objects->per_page;

	if (!slot) {
		uint8_t *page = pool_alloc(objects->pool, 1);

		if (!page)
			return NULL;
		objects->page[objects->pages++] = page;
	}
	objects->made++;
	return objects->page[objects->pages - 1] + (size_t)slot * objects->size;
}

void *object_pool_alloc(struct object_pool *objects)
{
	void *object = NULL;
	unsigned page, slot;

	spin_lock(&objects->lock);
	if (objects->free) {
		object = objects->free;
		memcpy(&objects->free, object, sizeof(void *));
	} else if (objects->made < objects->limit) {
		object = cut_slot(objects);
	}
	if (object && locate(objects, object, &page, &slot)) {
		objects->in_use[page][slot / 64] |= BIT(slot % 64);
		objects->used++;
	}
	spin_unlock(&objects->lock);
	if (object)
		memset(object, 0, objects->size);
	return object;
}

int object_pool_free(struct object_pool *objects, void *object)
{
	unsigned page, slot;
	bool valid;

	spin_lock(&objects->lock);
	valid = locate(objects, object, &page, &slot) && (objects->in_use[page][slot / 64] & BIT(slot % 64));
	if (valid) {
		objects->in_use[page][slot / 64] &= ~BIT(slot % 64);
		memcpy(object, &objects->free, sizeof(void *));
		objects->free = object;
		objects->used--;
	}
	spin_unlock(&objects->lock);
	if (valid)
		return 0;
	log_line("%s: bad free of %p", objects->name, object);
	return ERR_INVALID;
}

unsigned object_pool_used(struct object_pool *objects)
{
	unsigned used;

	spin_lock(&objects->lock);
	used = objects->used;
	spin_unlock(&objects->lock);
	return used;
}
