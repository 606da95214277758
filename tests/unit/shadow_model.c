#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "tests/unit/shadow_model.h"

#define FAULTS_MAX 40

struct guest_memory model_memory;
struct shadow_mmu model_mmu;
struct model_vcpu model_vcpu[MODEL_VCPUS];
uint64_t model_table[MODEL_TABLES];
unsigned model_kicks;
void (*model_hook)(void);

static uint8_t *ram[3], *tables, *meta;
static unsigned pages;
static uint64_t seed_now;
uint64_t (*model_random_source)(void);

void model_seed(uint64_t seed)
{
	seed_now = seed * 2685821657736338717ULL + 88172645463325252ULL;
}

uint64_t model_random(void)
{
	if (model_random_source)
		return model_random_source();
	seed_now ^= seed_now << 13;
	seed_now ^= seed_now >> 7;
	seed_now ^= seed_now << 17;
	return seed_now * 2685821657736338717ULL >> 11;
}

bool model_to_hpa(void *ctx, uint64_t gpa, uint64_t *hpa, uint64_t *size)
{
	uint64_t page = gpa & PAGE_MASK;

	void (*hook)(void) = model_hook;

	(void)ctx;
	model_hook = NULL;
	if (hook)
		hook();
	*size = PAGE_SIZE;
	if (gpa - MODEL_BIG_START < MODEL_BIG_SIZE) {
		*size = GIB(1);
	} else if (gpa - MODEL_SCATTERED < MIB(2)) {
		page ^= 0x5000;
	} else if (gpa - MODEL_MID_START < MODEL_MID_SIZE) {
		if (gpa >= MIB(2))
			*size = MIB(2);
	} else if (gpa >= MODEL_LOW_SIZE) {
		return false;
	}
	*hpa = MODEL_HPA + page;
	return true;
}

static void kick(void *ctx, unsigned index)
{
	(void)ctx;
	assert_true(index < MODEL_VCPUS);
	assert_int_not_equal(model_vcpu[index].sv.flush, 0);
	model_kicks++;
}

static uint8_t *map(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

void model_init(unsigned table_pages, bool pages_1g)
{
	uint64_t size;

	memset(&model_memory, 0, sizeof(model_memory));
	memset(model_vcpu, 0, sizeof(model_vcpu));
	model_kicks = 0;
	pages = table_pages;
	ram[0] = map(MODEL_LOW_SIZE);
	ram[1] = map(MODEL_MID_SIZE);
	ram[2] = map(MODEL_BIG_SIZE);
	assert_int_equal(guest_memory_add(&model_memory, 0, MODEL_LOW_SIZE, ram[0]), 0);
	assert_int_equal(guest_memory_add(&model_memory, MODEL_MID_START, MODEL_MID_SIZE, ram[1]), 0);
	assert_int_equal(guest_memory_add(&model_memory, MODEL_BIG_START, MODEL_BIG_SIZE, ram[2]), 0);
	/* Tables in all kinds of memory. */
	for (unsigned i = 0; i < MODEL_TABLES; i++)
		model_table[i] = i < 8 ? 0x1000 + i * 0x1000ULL : i < 14 ? MIB(2) + i * 0x1000ULL : i < 18 ? MODEL_SCATTERED + i * 0x1000ULL :
									    MODEL_BIG_START + i * 0x1000ULL;
	tables = map((uint64_t)table_pages * PAGE_SIZE);
	size = shadow_meta_size(&model_memory, table_pages, MODEL_VCPUS);
	assert_int_not_equal(size, 0);
	meta = aligned_alloc(64, ALIGN_UP(size, 64));
	memset(meta, 0, size);
	assert_int_equal(shadow_init(&model_mmu, &(struct shadow_config){ .mem = &model_memory, .tables = tables, .tables_phys = MODEL_TABLES_PHYS,
									  .table_pages = table_pages, .meta = meta, .meta_size = size,
									  .vcpus = MODEL_VCPUS, .pages_1g = pages_1g,
									  .to_hpa = model_to_hpa, .kick = kick }), 0);
	for (unsigned i = 0; i < MODEL_VCPUS; i++) {
		assert_int_equal(shadow_vcpu_init(&model_vcpu[i].sv, &model_mmu, i), 0);
		model_set_paging(&model_vcpu[i], &(struct guest_paging){ .maxphyaddr = 44 });
	}
}

void model_free(void)
{
	munmap(ram[0], MODEL_LOW_SIZE);
	munmap(ram[1], MODEL_MID_SIZE);
	munmap(ram[2], MODEL_BIG_SIZE);
	munmap(tables, (uint64_t)pages * PAGE_SIZE);
	free(meta);
}

static void flush(struct model_vcpu *v, enum shadow_flush kind, uint64_t linear)
{
	for (unsigned i = 0; i < MODEL_TLB; i++) {
		struct model_tlb *t = &v->tlb[i];

		if (kind == SHADOW_FLUSH_ALL || (kind == SHADOW_FLUSH_NONGLOBAL && !t->global) ||
		    (kind == SHADOW_FLUSH_ADDRESS && linear - t->base < t->size))
			t->valid = false;
	}
}

void model_enter(struct model_vcpu *v)
{
	if (v->sv.flush)
		flush(v, shadow_take_flush(&v->sv), 0);
}

void model_set_paging(struct model_vcpu *v, const struct guest_paging *paging)
{
	v->paging = *paging;
	shadow_set_paging(&v->sv, paging);
}

bool model_load_cr3(struct model_vcpu *v, uint64_t cr3)
{
	int kind = shadow_load_cr3(&v->sv, cr3);

	if (kind < 0)
		return false;
	v->cr3_flush = (enum shadow_flush)kind;
	flush(v, v->cr3_flush, 0);
	v->paging.cr3 = cr3;
	memcpy(v->paging.pdpte, v->sv.paging.pdpte, sizeof(v->paging.pdpte));
	return true;
}

void model_invlpg(struct model_vcpu *v, uint64_t linear)
{
	enum shadow_flush kind = shadow_invlpg(&v->sv, linear);

	if (!(v->paging.efer & EFER_LMA))
		linear &= 0xffffffff;
	flush(v, kind, linear);
}

void model_flush_all(struct model_vcpu *v)
{
	shadow_flush_all(&v->sv);
}

static uint64_t *table_at(uint64_t phys)
{
	assert_true((phys & PTE_ADDRESS) - MODEL_TABLES_PHYS < (uint64_t)pages * PAGE_SIZE);
	return (uint64_t *)(tables + ((phys & PTE_ADDRESS) - MODEL_TABLES_PHYS));
}

/* The hardware's walk of the shadow tables. Returns whether there is a translation. */
static bool walk(struct model_vcpu *v, uint64_t linear, struct model_tlb *t)
{
	bool lma = v->paging.efer & EFER_LMA && v->paging.cr0 & CR0_PG;
	uint64_t *table = table_at(v->sv.root), all = ~0ULL, any = 0, e, hpa;
	unsigned shift = lma ? 39 : 30;

	for (;; shift -= 9) {
		e = table[(linear >> shift) & 0x1ff];
		if (!(e & P))
			return false;
		assert_int_equal(e & PTE_ADDRESS & ~(BIT(46) - 1), 0);
		if (!lma)
			assert_int_equal(e & 0x7ff0000000000000ULL, 0);
		if (!lma && shift == 30) {
			assert_int_equal(e & PDPTE_RESERVED_LOW, 0);
			table = table_at(e);
			continue;
		}
		all &= e;
		any |= e;
		if (shift == 12)
			break;
		if (e & PS) {
			assert_true(shift < 39);
			assert_int_equal(e & (BIT(shift) - 1) & 0xffffffffffffe000ULL, 0);
			break;
		}
		table = table_at(e);
	}
	/* Set beforehand, or the hardware would have to write to the tables. */
	assert_int_equal(e & 0x60, 0x60);
	hpa = (e & PTE_ADDRESS & ~(BIT(shift) - 1)) | (linear & (BIT(shift) - 1) & PAGE_MASK);
	*t = (struct model_tlb){ .valid = true, .global = (e & G) && (v->paging.cr4 & CR4_PGE), .page = linear & PAGE_MASK, .hpa = hpa,
				 .entry = (all & (W | U)) | (any & NX), .base = linear & ~(BIT(shift) - 1), .size = BIT(shift),
				 .cache = (unsigned)(e >> 3 & 3) | (unsigned)(e >> (shift == 12 ? 7 : 12) & 1) << 2 };
	return true;
}

/* CR0.WP and EFER.NXE are always set, and without paging in the guest SMEP and SMAP are clear. */
static bool permits(const struct model_vcpu *v, const struct model_tlb *t, unsigned access)
{
	bool user = v->paging.cpl == 3, user_page = t->entry & U;
	uint64_t cr4 = v->paging.cr0 & CR0_PG ? v->paging.cr4 : 0;

	if (user && !user_page)
		return false;
	if (access & WALK_EXEC)
		return !(t->entry & NX) && (user || !user_page || !(cr4 & CR4_SMEP));
	if ((access & WALK_WRITE) && !(t->entry & W))
		return false;
	return user || !user_page || !(cr4 & CR4_SMAP) || v->paging.rflags_ac;
}

/* What lies there must be the VM's own. */
static void check_own(uint64_t hpa)
{
	uint64_t gpa = hpa - MODEL_HPA;

	assert_true(gpa < MODEL_LOW_SIZE || gpa - MODEL_MID_START < MODEL_MID_SIZE || gpa - MODEL_BIG_START < MODEL_BIG_SIZE);
}

struct model_access model_access(struct model_vcpu *v, uint64_t linear, unsigned access)
{
	struct model_access r = { .result = MODEL_LOOP };
	struct shadow_fault fault;

	if (!(v->paging.efer & EFER_LMA) || !(v->paging.cr0 & CR0_PG))
		linear &= 0xffffffff;
	for (; r.faults < FAULTS_MAX; r.faults++) {
		struct model_tlb *t = &v->tlb[(linear >> 12 ^ linear >> 21 ^ linear >> 30 ^ linear >> 39) % MODEL_TLB];
		uint32_t error;
		bool present;

		model_enter(v);
		present = (t->valid && t->page == (linear & PAGE_MASK)) || walk(v, linear, t);
		if (present && permits(v, t, access)) {
			check_own(t->hpa);
			r.result = MODEL_OK;
			r.hpa = t->hpa | (linear & (PAGE_SIZE - 1));
			r.cache = t->cache;
			return r;
		}
		/* A fault drops what the TLB has for the address. */
		if (present)
			flush(v, SHADOW_FLUSH_ADDRESS, linear);
		error = (present ? PF_PRESENT : 0) | (access & WALK_WRITE ? PF_WRITE : 0) | (v->paging.cpl == 3 ? PF_USER : 0) |
			(access & WALK_EXEC ? PF_FETCH : 0);
		switch (shadow_page_fault(&v->sv, linear, error, v->paging.rflags_ac, &fault)) {
		case SHADOW_RESOLVED:
		case SHADOW_UNSYNCED:
			continue;
		case SHADOW_REFLECT:
			r.result = MODEL_FAULT;
			r.error = fault.error;
			return r;
		case SHADOW_MMIO:
			r.result = MODEL_MMIO;
			r.gpa = fault.gpa;
			return r;
		case SHADOW_EMULATE:
			r.result = MODEL_EMULATE;
			r.gpa = fault.gpa;
			return r;
		}
	}
	return r;
}

bool model_tlb_writes(struct model_vcpu *v, uint64_t hpa)
{
	model_enter(v);
	for (unsigned i = 0; i < MODEL_TLB; i++)
		if (v->tlb[i].valid && v->tlb[i].hpa == (hpa & PAGE_MASK) && (v->tlb[i].entry & W))
			return true;
	return false;
}

uint64_t model_path_now(const struct model_path *path, unsigned i)
{
	return path->size == 8 ? *(uint64_t *)path->at[i] : *(uint32_t *)path->at[i];
}

void model_path(const struct guest_paging *paging, uint64_t linear, struct model_path *path)
{
	bool lma = paging->efer & EFER_LMA, pae = paging->cr4 & CR4_PAE;
	uint64_t table = paging->cr3 & (lma ? PTE_ADDRESS : 0xfffff000), e;
	unsigned shift = lma ? 39 : pae ? 21 : 22, bits = lma || pae ? 9 : 10;

	path->count = 0;
	path->size = bits == 9 ? 8 : 4;
	if (!(paging->cr0 & CR0_PG))
		return;
	if (!lma) {
		linear &= 0xffffffff;
		if (pae) {
			table = paging->pdpte[linear >> 30] & PTE_ADDRESS;
			if (!(paging->pdpte[linear >> 30] & P))
				return;
		}
	}
	for (;; shift -= bits) {
		void *at = guest_ptr(&model_memory, table + (linear >> shift & (BIT(bits) - 1)) * path->size, path->size);

		if (!at)
			return;
		path->at[path->count] = at;
		e = path->value[path->count] = path->size == 8 ? *(uint64_t *)at : *(uint32_t *)at;
		path->count++;
		if (!(e & P))
			return;
		if (shift == 12 || ((e & PS) && (bits == 9 || (paging->cr4 & CR4_PSE))))
			break;
		table = e & (bits == 9 ? PTE_ADDRESS : 0xfffff000);
	}
	path->cache = (unsigned)(e >> 3 & 3) | (unsigned)(e >> (shift == 12 ? 7 : 12) & 1) << 2;
}
