#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/registers.h"
#include "tests/unit/shadow_history.h"

uint64_t history_steps, history_results[MODEL_LOOP + 1];
static unsigned usual_format = 4; /* that most vCPUs use now */

static bool chance(unsigned percent)
{
	return model_random() % 100 < percent;
}

static bool wide(const struct guest_paging *paging)
{
	return (paging->efer & EFER_LMA) || (paging->cr4 & CR4_PAE);
}

/* Few slots of each table are used, so that what is written is also met. */
static uint64_t random_linear(const struct guest_paging *paging)
{
	static const unsigned slot9[] = { 0, 1, 3, 511 }, slot10[] = { 0, 1, 2, 511, 512, 1023 };
	uint64_t offset = model_random() & 0xff8;

	if (!(paging->cr0 & CR0_PG))
		return chance(20) ? model_random() & 0xffffffff :
				    (model_table[model_random() % MODEL_TABLES] ^ (chance(30) ? 0x3f000 : 0)) | offset;
	if (paging->efer & EFER_LMA) {
		uint64_t linear = (uint64_t)slot9[model_random() % 4] << 39 | (uint64_t)slot9[model_random() % 4] << 30 |
				  slot9[model_random() % 4] << 21 | slot9[model_random() % 4] << 12 | offset;

		return (uint64_t)((int64_t)(linear << 16) >> 16);
	}
	if (paging->cr4 & CR4_PAE)
		return (model_random() & 3) << 30 | slot9[model_random() % 4] << 21 | slot9[model_random() % 4] << 12 | offset;
	return (uint64_t)slot10[model_random() % 6] << 22 | slot10[model_random() % 6] << 12 | offset;
}

/* What an entry of this table leads to: mostly a table of the next level, so that address spaces work. */
static uint64_t random_address(unsigned table, bool is_wide, bool large)
{
	switch (model_random() % 32) {
	case 0:
		return 0xfee00000;
	case 1:
		return model_random() & 0xfffffff000;
	case 2:
		return MODEL_SCATTERED + (model_random() & 0x1f000);
	case 3:
		return MODEL_BIG_START + (large ? 0 : model_random() & 0x3ffff000);
	case 4:
		return MIB(2) * (model_random() % 4);
	case 5:
		return model_table[model_random() % MODEL_TABLES];
	default:
		break;
	}
	if (large)
		return chance(50) ? MODEL_BIG_START : MIB(2) * (1 + model_random() % 3);
	if (table < 6 && is_wide)
		return model_table[6 + model_random() % 4];
	if (table < 10 && is_wide)
		return model_table[10 + model_random() % 4];
	if (table < 14)
		return model_table[14 + model_random() % 6];
	return model_table[model_random() % MODEL_TABLES];
}

static uint64_t random_entry(unsigned table, bool is_wide)
{
	uint64_t e = P | W | U | A | D;
	bool large = table >= 6 && table < 14 && chance(12);

	if (chance(4))
		return chance(50) ? 0 : model_random() & ~(uint64_t)1;
	e |= random_address(table, is_wide, large);
	if (large) {
		e |= PS;
		if (!chance(5))
			e &= is_wide ? ~0x1fe000ULL : ~0x3ff000ULL;
		if (is_wide && chance(30))
			e &= ~(GIB(1) - 1) | 0x1fff;
		e |= chance(20) ? BIT(12) : 0;
	}
	e ^= (chance(table < 14 ? 3 : 15) ? W : 0) | (chance(table < 14 ? 3 : 15) ? U : 0) | (chance(30) ? A : 0) | (chance(30) ? D : 0) | (chance(15) ? G : 0) |
	     (chance(10) ? BIT(3) : 0) | (chance(10) ? BIT(4) : 0) | (table >= 14 && chance(10) ? BIT(7) : 0);
	if (is_wide)
		e |= (chance(table < 14 ? 2 : 15) ? NX : 0) | (chance(1) ? BIT(40 + model_random() % 23) : 0);
	return is_wide ? e : (uint32_t)e;
}

static void store_entry(uint64_t gpa, uint64_t value, bool is_wide)
{
	assert_int_equal(guest_write(&model_memory, gpa, &value, is_wide ? 8 : 4), 0);
}

static void all_stale(void)
{
	for (unsigned i = 0; i < MODEL_VCPUS; i++)
		model_vcpu[i].stale = true;
}

/* Write a guest entry: through a TLB entry if one allows, else through a linear address that the guest could use, else as a device. */
static void write_entry(struct model_vcpu *v, uint64_t gpa, uint64_t value)
{
	bool is_wide = wide(&v->paging);
	uint64_t hpa, size, at;

	assert_true(model_to_hpa(NULL, gpa, &hpa, &size));
	all_stale();
	for (unsigned i = 0; i < MODEL_VCPUS; i++) {
		if (model_tlb_writes(&model_vcpu[i], hpa)) {
			store_entry(gpa, value, is_wide);
			return;
		}
	}
	for (unsigned i = 0; i < 60; i++) {
		uint64_t linear = (random_linear(&v->paging) & PAGE_MASK) | (gpa & (PAGE_SIZE - 1));
		struct model_access r;

		if (guest_walk(&model_memory, &v->paging, linear, WALK_WRITE, &at, NULL, NULL) || at != gpa)
			continue;
		r = model_access(v, linear, WALK_WRITE);
		if (r.result == MODEL_OK && r.hpa == (hpa | (gpa & (PAGE_SIZE - 1)))) {
			store_entry(gpa, value, is_wide);
			return;
		}
		if (r.result == MODEL_EMULATE && r.gpa == gpa) {
			store_entry(gpa, value, is_wide);
			shadow_written(&model_mmu, &v->sv, gpa, is_wide ? 8 : 4);
			return;
		}
	}
	store_entry(gpa, value, is_wide);
	shadow_written(&model_mmu, NULL, gpa, is_wide ? 8 : 4);
}

static void random_write(struct model_vcpu *v)
{
	static const unsigned slot9[] = { 0, 1, 3, 511 }, slot10[] = { 0, 1, 2, 511, 512, 1023 };
	/* Mostly leaf tables. */
	unsigned table = chance(70) ? 14 + model_random() % 6 : model_random() % MODEL_TABLES;

	if (wide(&v->paging))
		write_entry(v, model_table[table] + slot9[model_random() % 4] * 8, random_entry(table, true));
	else
		write_entry(v, model_table[table] + slot10[model_random() % 6] * 4, random_entry(table, false));
}

/* format: 0 none, 1 32-bit, 2 and 3 PAE, else 4-level */
static bool random_paging(struct guest_paging *paging, unsigned format, unsigned maxphyaddr)
{
	*paging = (struct guest_paging){ .cr0 = CR0_PE, .maxphyaddr = maxphyaddr };
	paging->cr3 = model_table[model_random() % 6];
	if (chance(50))
		paging->cr0 |= CR0_WP;
	if (chance(40))
		paging->cr4 |= CR4_SMEP;
	if (chance(40))
		paging->cr4 |= CR4_SMAP;
	if (chance(50))
		paging->cr4 |= CR4_PGE;
	if (chance(80))
		paging->efer |= EFER_NXE;
	paging->cpl = chance(50) ? 3 : 0;
	paging->rflags_ac = chance(50);
	switch (format) {
	case 0:
		return true; /* no paging */
	case 1:
		paging->cr0 |= CR0_PG;
		paging->cr4 |= chance(70) ? CR4_PSE : 0;
		return true;
	case 2:
	case 3:
		paging->cr0 |= CR0_PG;
		paging->cr4 |= CR4_PAE;
		/* Mostly PDPTEs that no memory holds any more: then a write to CR3 is refused. */
		for (unsigned i = 0; i < 4; i++)
			paging->pdpte[i] = chance(80) ? model_table[10 + model_random() % 4] | P : 0;
		return chance(80) || !shadow_read_pdptes(&model_mmu, paging->cr3, maxphyaddr, paging->pdpte);
	default:
		paging->cr0 |= CR0_PG;
		paging->cr4 |= CR4_PAE;
		paging->efer |= EFER_LMA;
		return true;
	}
}

/* All that the guest's own walk says must come true, if the guest has flushed what it changed. */
static void compare(struct model_vcpu *v, uint64_t linear, unsigned access)
{
	struct model_path path;
	struct model_access r;
	uint64_t gpa = 0, hpa = 0, size;
	uint32_t error = 0;
	int want;
	bool there;

	model_path(&v->paging, linear, &path);
	want = guest_walk(&model_memory, &v->paging, linear, access, &gpa, &error, NULL);
	r = model_access(v, linear, access);
	history_results[r.result]++;
	if (r.result == MODEL_LOOP)
		fail_msg("step %lu: %lx faults for ever", history_steps, linear);
	if (v->stale)
		return;
	if (want == ERR_RANGE)
		return;
	if (want == ERR_NOENT) {
		if (r.result != MODEL_FAULT || r.error != error)
			fail_msg("step %lu: %lx access %u: want fault %x, got %d, fault %x", history_steps, linear, access, error, r.result, r.error);
		for (unsigned i = 0; i < path.count; i++)
			if (model_path_now(&path, i) != path.value[i])
				fail_msg("step %lu: %lx: a fault changed the guest's entry", history_steps, linear);
		return;
	}
	assert_int_equal(want, 0);
	there = model_to_hpa(NULL, gpa, &hpa, &size);
	hpa |= gpa & (PAGE_SIZE - 1);
	if (r.result == MODEL_FAULT || (r.result == MODEL_OK && (!there || r.hpa != hpa)) || (r.result == MODEL_MMIO && (there || r.gpa != gpa)) ||
	    (r.result == MODEL_EMULATE && (!there || r.gpa != gpa || !(access & WALK_WRITE))))
		fail_msg("step %lu: %lx access %u: want gpa %lx, got %d, hpa %lx gpa %lx fault %x", history_steps, linear, access, gpa, r.result, r.hpa, r.gpa,
			 r.error);
	for (unsigned i = 0; i < path.count; i++) {
		uint64_t flags = A | (i == path.count - 1 && (access & WALK_WRITE) ? D : 0), now = model_path_now(&path, i);
		bool again = false;

		/* The same entry at two levels. */
		for (unsigned j = 0; j < path.count; j++)
			again |= j != i && path.at[i] == path.at[j];
		if (again ? (now & flags) != flags : now != (path.value[i] | flags))
			fail_msg("step %lu: %lx access %u: entry %u was %lx, is %lx", history_steps, linear, access, i, path.value[i], now);
	}
	if (r.result == MODEL_OK && path.count && r.cache != path.cache)
		fail_msg("step %lu: %lx: memory type bits %x, not %x", history_steps, linear, r.cache, path.cache);
}

/* Make a vCPU know of all changes, in one of the ways that a guest has. */
static void flush_guest(struct model_vcpu *v)
{
	bool paging = v->paging.cr0 & CR0_PG;

	switch (model_random() % 4) {
	case 0:
		if (!paging || (v->paging.cr4 & CR4_PGE))
			break;
		if (model_load_cr3(v, v->paging.cr3))
			v->stale = false;
		return;
	case 1:
		if (!paging || (v->paging.cr4 & CR4_PGE))
			break;
		if (model_load_cr3(v, model_table[model_random() % 6]))
			v->stale = false;
		return;
	case 2: {
		struct guest_paging p = v->paging;

		if ((p.cr0 & CR0_PG) && !(p.efer & EFER_LMA) && (p.cr4 & CR4_PAE))
			break; /* would load the PDPTEs again */
		p.cr4 ^= CR4_PGE;
		model_set_paging(v, &p);
		v->stale = false;
		return;
	}
	default:
		break;
	}
	model_flush_all(v);
	v->stale = false;
}

/* Change one entry of what must be, for all addresses, a leaf table or none, and invalidate each address. */
static void change_and_invalidate(struct model_vcpu *v)
{
	static const unsigned slot9[] = { 0, 1, 3, 511 }, slot10[] = { 0, 1, 2, 511, 512, 1023 };
	bool clean[MODEL_VCPUS];

	for (unsigned i = 0; i < MODEL_VCPUS; i++)
		clean[i] = !model_vcpu[i].stale;
	random_write(v);
	for (unsigned n = 0; n < MODEL_VCPUS; n++) {
		struct model_vcpu *o = &model_vcpu[n];

		if (!clean[n] || !(o->paging.cr0 & CR0_PG))
			continue;
		if (wide(&o->paging)) {
			unsigned tops = o->paging.efer & EFER_LMA ? 4 : 1;

			for (unsigned i = 0; i < 64 * tops; i++) {
				uint64_t linear = (uint64_t)slot9[i >> 6 & 3] << 39 | (uint64_t)(tops == 1 ? i & 3 : slot9[i & 3]) << 30 |
						  slot9[i >> 2 & 3] << 21 | slot9[i >> 4 & 3] << 12;

				model_invlpg(o, (uint64_t)((int64_t)(linear << 16) >> 16));
			}
		} else {
			for (unsigned i = 0; i < 36; i++)
				model_invlpg(o, (uint64_t)slot10[i / 6] << 22 | slot10[i % 6] << 12);
		}
		o->stale = false;
	}
}

void history_step(void)
{
	struct model_vcpu *v = &model_vcpu[model_random() % MODEL_VCPUS];
	unsigned what = (unsigned)(model_random() % 1000);
	struct guest_paging paging;

	if (what < 650) {
		static const unsigned kind[] = { WALK_READ, WALK_READ, WALK_WRITE, WALK_WRITE, WALK_EXEC };

		if (chance(40)) {
			v->paging.cpl = chance(50) ? 3 : 0;
			v->paging.rflags_ac = chance(50);
		}
		if (v->stale && chance(25))
			flush_guest(v);
		compare(v, random_linear(&v->paging), kind[model_random() % 5]);
	} else if (what < 860) {
		for (unsigned n = model_random() % 6; n; n--)
			random_write(v);
		random_write(v);
	} else if (what < 900) {
		flush_guest(v);
	} else if (what < 940) {
		change_and_invalidate(v);
	} else if (what < 955) {
		/* Mostly the rights change, or the format; both vCPUs go on sharing tables. */
		if (chance(15))
			usual_format = (unsigned)(model_random() % 8);
		if (random_paging(&paging, chance(90) ? usual_format : (unsigned)(model_random() % 8), 44)) {
			uint32_t role = v->sv.role;
			uint64_t cr4 = v->paging.cr4;

			model_set_paging(v, &paging);
			if (role != v->sv.role || ((cr4 ^ paging.cr4) & CR4_PGE))
				v->stale = false;
		}
	} else if (what < 960) {
		/* A device writes a whole page. */
		uint64_t table = model_table[model_random() % MODEL_TABLES];
		uint8_t page[PAGE_SIZE];

		if (chance(10))
			memset(page, 0, sizeof(page));
		else
			guest_read(&model_memory, model_table[chance(80) ? 14 + model_random() % 6 : model_random() % MODEL_TABLES], page, sizeof(page));
		guest_write(&model_memory, table, page, sizeof(page));
		shadow_written(&model_mmu, NULL, table, sizeof(page));
		all_stale();
	} else {
		model_invlpg(v, model_random() << 40 | 0x0000800000000000);
	}
}

static void fill_tables(bool is_wide)
{
	for (unsigned t = 0; t < MODEL_TABLES; t++)
		for (unsigned slot = 0; slot < (is_wide ? 512 : 1024); slot++)
			store_entry(model_table[t] + slot * (is_wide ? 8 : 4), random_entry(t, is_wide), is_wide);
}

void history_begin(unsigned table_pages, bool pages_1g)
{
	model_init(table_pages, pages_1g);
	usual_format = 4;
	fill_tables(true);
	history_steps = 0;
}

void history_reset(void)
{
	shadow_reset(&model_mmu);
	for (unsigned i = 0; i < MODEL_VCPUS; i++) {
		model_vcpu[i].stale = false;
		model_set_paging(&model_vcpu[i], &(struct guest_paging){ .maxphyaddr = 44 });
	}
	usual_format = 4;
}

void history_restart(void)
{
	history_reset();
	usual_format = (unsigned)(model_random() % 8);
	fill_tables(usual_format != 1);
}

void history_check(void)
{
	const char *wrong = shadow_check(&model_mmu);

	if (wrong)
		fail_msg("step %lu: %s", history_steps, wrong);
}
