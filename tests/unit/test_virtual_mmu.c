/* SOURCES: vmm/mmu/virtual_mmu.c vmm/mmu/cr3_exits.c vmm/emulate/code_memory.c vmm/emulate/cr3_sequence.c vmm/emulate/decode.c vmm/emulate/decode_tables.c vmm/memory/guest_memory.c vmm/memory/guest_walk.c */
/* What a vCPU with shadow paging asks of the shadow MMU and of its engine, and how one vCPU's change of shadow tables waits for another vCPU,
 * which runs guest code. The shadow MMU itself is test_shadow's. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/paging.h"
#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "mm/address_space.h"
#include "mm/page_table.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/handlers.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/cr3_exits.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm_vcpu.h"

static struct vm vm;
static struct vcpu vcpu[2];
static struct shadow_config config;
static _Alignas(4096) uint8_t memory[1 << 20];
static unsigned pauses, notices;
static void (*on_pause)(void);

#define HPA 0x40000000ULL
#define CODE 0x3000 /* guest-physical */
#define RIP 0xffffffff81003000

/* A vCPU with shadow paging. */
static struct shadow_mmu mmu;
static struct shadow_vcpu sv;
static struct vcpu *const v = &vcpu[0];
static uint64_t regs[VCPU_REGISTERS];
static _Alignas(4096) uint8_t ram[0x4000];
static struct vcpu_context context;
static struct { /* what happened */
	unsigned resets, pagings, loads, writes, lookups, nested, injections, flushes, roots;
	uint64_t cr3, linear, gpa, size, flushed, root;
	uint32_t error, error_code;
	uint8_t vector;
	bool ac;
	struct shadow_vcpu *writer;
} done;
static struct { /* what the shadow MMU says next */
	int cr3;
	uint64_t root;
	bool unmapped;
	enum shadow_verdict verdict;
	enum shadow_flush flush;
} next;

static uint64_t engine_read(struct vcpu *of, enum vcpu_register reg) { (void)of; return regs[reg]; }
static void engine_write(struct vcpu *of, enum vcpu_register reg, uint64_t value) { (void)of; regs[reg] = value; }
static void engine_context(struct vcpu *of, struct vcpu_context *c) { (void)of; *c = context; }
static void engine_flush(struct vcpu *of) { (void)of; done.flushes++; }
static void engine_flush_address(struct vcpu *of, uint64_t linear) { (void)of; done.flushed = linear; }
static void engine_root(struct vcpu *of, uint64_t root) { (void)of; done.root = root; done.roots++; }
static const struct engine engine = {
	.read = engine_read, .write = engine_write, .read_context = engine_context, .flush = engine_flush,
	.flush_address = engine_flush_address, .shadow_root = engine_root,
};

/* ---- Around it ---- */

int shadow_init(struct shadow_mmu *m, const struct shadow_config *c)
{
	(void)m;
	config = *c;
	return 0;
}

void *vm_alloc_pages(struct vm *of, unsigned pages) { (void)of; (void)pages; return memory; }
void *vm_alloc(struct vm *of, uint32_t size) { (void)of; (void)size; return memory; }
uint64_t vm_phys(const struct vm *of, const void *p) { (void)of; (void)p; return 0x100000; }
uint64_t shadow_meta_size(const struct guest_memory *mem, unsigned pages, unsigned vcpus) { (void)mem; (void)pages; return vcpus; }
int shadow_vcpu_init(struct shadow_vcpu *s, struct shadow_mmu *m, unsigned index) { (void)s; (void)m; (void)index; return 0; }
void shadow_reset(struct shadow_mmu *m) { assert_ptr_equal(m, vm.shadow); done.resets++; }
void shadow_set_paging(struct shadow_vcpu *s, const struct guest_paging *paging)
{
	s->paging = *paging;
	s->root = next.root;
	done.pagings++;
}
int shadow_load_cr3(struct shadow_vcpu *s, uint64_t cr3)
{
	done.loads++;
	done.cr3 = cr3;
	s->root = next.root;
	return next.cr3;
}
int shadow_read_pdptes(const struct shadow_mmu *m, uint64_t cr3, unsigned width, uint64_t pdpte[4])
{
	(void)m;
	assert_int_equal(cr3, regs[VCPU_CR3]);
	assert_int_equal(width, 40);
	pdpte[2] = 0x2001;
	return 0;
}
enum shadow_verdict shadow_page_fault(struct shadow_vcpu *s, uint64_t linear, uint32_t error, bool ac, struct shadow_fault *fault)
{
	done.linear = linear;
	done.error = error;
	done.ac = ac;
	s->root = next.root;
	fault->error = 0x17;
	fault->gpa = 0xfee00020;
	return next.verdict;
}
enum shadow_flush shadow_invlpg(struct shadow_vcpu *s, uint64_t linear) { (void)s; done.linear = linear; return next.flush; }
void shadow_written(struct shadow_mmu *m, struct shadow_vcpu *s, uint64_t gpa, uint64_t size)
{
	(void)m;
	done.writer = s;
	done.gpa = gpa;
	done.size = size;
	done.writes++;
}
uint64_t shadow_lookup(const struct shadow_vcpu *s, uint64_t linear)
{
	(void)s;
	done.lookups++;
	return next.unmapped ? ~0ULL : HPA + (linear & 0xfff);
}
int page_table_lookup(const struct page_table *pt, uint64_t va, uint64_t *pa, uint32_t *attrs, unsigned *level)
{
	(void)attrs;
	assert_ptr_equal(pt, &vm.nested);
	*pa = va + HPA;
	*level = PT_LEVEL_2M;
	return va < MIB(16) ? 0 : ERR_NOENT;
}
enum verdict handle_nested_fault(struct vcpu *of, struct vm_exit *exit) { (void)of; (void)exit; done.nested++; return VERDICT_RESUME; }
void vcpu_inject_exception(struct vcpu *of, uint8_t vector, uint32_t error)
{
	(void)of;
	done.injections++;
	done.vector = vector;
	done.error_code = error;
}

void vcpu_notify(struct vcpu *of, uint32_t bits)
{
	of->pending |= bits;
	notices++;
}

void core_pause(void)
{
	assert_true(++pauses < 100); /* it would wait for ever */
	if (on_pause)
		on_pause();
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(vcpu, 0, sizeof(vcpu));
	vm.config.memsize = 256;
	vm.config.numvcpus = vm.vcpu_count = 2;
	vm.vcpu[0] = &vcpu[0];
	vm.vcpu[1] = &vcpu[1];
	pauses = notices = 0;
	on_pause = NULL;
	assert_int_equal(virtual_mmu_create(&vm), 0);
	assert_non_null(config.kick);
	return 0;
}

/* ---- The other vCPU ---- */

static void leave_guest(void)
{
	if (pauses == 10)
		vcpu[1].in_guest = false;
}

/* It leaves, takes the notice, which flushes, and is back before anybody has seen it outside. */
static void leave_and_return(void)
{
	if (pauses == 10)
		vcpu[1].pending &= ~(uint32_t)PENDING_FLUSH;
}

static void test_out_of_the_guest(void **state)
{
	(void)state;
	config.kick(config.ctx, 1);
	assert_int_equal(notices, 1);
	assert_int_equal(pauses, 0);
	assert_int_equal(vcpu[1].pending, PENDING_FLUSH);
}

static void test_until_it_leaves(void **state)
{
	(void)state;
	vcpu[1].in_guest = true;
	on_pause = leave_guest;
	config.kick(config.ctx, 1);
	assert_int_equal(pauses, 10);
}

static void test_back_again(void **state)
{
	(void)state;
	vcpu[1].in_guest = true;
	vcpu[1].pending = PENDING_TIMER;
	on_pause = leave_and_return;
	config.kick(config.ctx, 1);
	assert_int_equal(pauses, 10);
}

static void test_one_vcpu_needs_none(void **state)
{
	(void)state;
	vm.config.numvcpus = 1;
	assert_int_equal(virtual_mmu_create(&vm), 0);
	assert_null(config.kick);
}

/* ---- One vCPU and its shadow tables ---- */

static int setup_vcpu(void **state)
{
	setup(state);
	memset(&mmu, 0, sizeof(mmu));
	memset(&sv, 0, sizeof(sv));
	memset(regs, 0, sizeof(regs));
	memset(ram, 0x90, sizeof(ram));
	memset(&done, 0, sizeof(done));
	memset(&next, 0, sizeof(next));
	context = (struct vcpu_context){ .efer = EFER_LMA, .cs_access = 0xa09b };
	assert_int_equal(guest_memory_add(&vm.memory, 0, sizeof(ram), ram), 0);
	vm.engine = &engine;
	vm.shadow = &mmu;
	vm_attach_vcpu(&vm, v);
	code_memory_init(&v->emulator.code);
	v->emulator.paging.maxphyaddr = 40;
	v->shadow = &sv;
	sv.mmu = &mmu;
	sv.paging.efer = EFER_LMA;
	sv.paging.maxphyaddr = 40;
	next.root = sv.root = v->shadow_root = 0x7000;
	return 0;
}

static void test_plan_and_sizes(void **state)
{
	struct arena_plan plan = { 0 };
	uint64_t hpa, size;

	(void)state;
	assert_int_equal(config.table_pages, 256);
	assert_int_equal(config.vcpus, 2);
	assert_int_equal(config.meta_size, 2);
	assert_int_equal(config.tables_phys, 0x100000);
	virtual_mmu_plan(&plan, &vm.config);
	assert_int_equal(plan.pages, 256 + arena_pages(sizeof(struct shadow_mmu)) + 1);
	vm.config.memsize = 100;
	virtual_mmu_create(&vm);
	assert_int_equal(config.table_pages, 256);
	vm.config.memsize = 1000;
	virtual_mmu_create(&vm);
	assert_int_equal(config.table_pages, 1000);
	vm.config.memsize = 4096;
	vm.space.max_leaf_level = PT_LEVEL_1G;
	virtual_mmu_create(&vm);
	assert_int_equal(config.table_pages, 2048);
	assert_true(config.pages_1g);
	vm.config.shadow_memory = 3;
	vm.space.max_leaf_level = PT_LEVEL_2M;
	virtual_mmu_create(&vm);
	assert_int_equal(config.table_pages, 768);
	assert_false(config.pages_1g);
	assert_true(config.to_hpa(config.ctx, 0x1000, &hpa, &size));
	assert_int_equal(hpa, HPA + 0x1000);
	assert_int_equal(size, MIB(2));
	assert_false(config.to_hpa(config.ctx, MIB(16), &hpa, &size));
	v->shadow = NULL;
	assert_int_equal(virtual_mmu_add_vcpu(v), 0);
	assert_non_null(v->shadow);
}

/* All of it does nothing with nested paging. */
static void test_settle(void **state)
{
	(void)state;
	virtual_mmu_settle(v);
	assert_true(done.roots == 0 && done.flushes == 0);
	sv.root = 0x8000;
	sv.flush = SHADOW_FLUSH_ALL;
	virtual_mmu_settle(v);
	assert_true(done.roots == 1 && done.root == 0x8000 && v->shadow_root == 0x8000 && done.flushes == 1 && sv.flush == 0);
	virtual_mmu_reset(&vm);
	assert_int_equal(done.resets, 1);
	vm_memory_written(&vm, (void *)(GUEST_WINDOW_BASE + 0x4000), 8);
	assert_true(done.writes == 1 && done.gpa == 0x4000 && done.size == 8 && done.writer == NULL);
	sv.flush = SHADOW_FLUSH_ALL;
	virtual_mmu_written(v, 0x5000, 2);
	assert_true(done.writes == 2 && done.gpa == 0x5000 && done.size == 2 && done.writer == &sv && done.flushes == 2);
	sv.root = 0x9000;
	v->shadow = NULL;
	vm.shadow = NULL;
	virtual_mmu_settle(v);
	virtual_mmu_update(v);
	virtual_mmu_reset(&vm);
	vm_memory_written(&vm, (void *)(GUEST_WINDOW_BASE + 0x4000), 8);
	assert_true(done.roots == 1 && done.resets == 1 && done.writes == 2 && done.pagings == 0);
}

static void test_update(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		regs[VCPU_CR0] = CR0_PE | (i & 1 ? CR0_PG : 0);
		regs[VCPU_CR4] = i & 2 ? CR4_PAE : 0;
		regs[VCPU_EFER] = i & 4 ? EFER_LMA : EFER_SCE;
		regs[VCPU_CR3] = 0x1000 * i;
		virtual_mmu_update(v);
		assert_int_equal(sv.paging.cr0, regs[VCPU_CR0]);
		assert_int_equal(sv.paging.cr3, regs[VCPU_CR3]);
		assert_int_equal(sv.paging.cr4, regs[VCPU_CR4]);
		assert_int_equal(sv.paging.efer, regs[VCPU_EFER]);
		assert_int_equal(sv.paging.maxphyaddr, 40);
		assert_int_equal(sv.paging.pdpte[2], i == 3 ? 0x2001 : 0);
	}
	assert_int_equal(done.roots, 0);
	next.root = 0x8000;
	virtual_mmu_update(v);
	assert_int_equal(done.root, 0x8000);
}

static enum verdict page_fault(enum shadow_verdict verdict, uint32_t error)
{
	v->exit.page_fault.linear = 0x7fff1000;
	v->exit.page_fault.error = error;
	next.verdict = verdict;
	return handle_page_fault(v, &v->exit);
}

static void test_page_faults(void **state)
{
	(void)state;
	next.root = 0x8000;
	assert_int_equal(page_fault(SHADOW_RESOLVED, 3), VERDICT_RESUME);
	assert_true(done.roots == 1 && done.linear == 0x7fff1000 && done.error == 3 && !done.ac && done.injections == 0);
	next.root = 0x9000;
	assert_int_equal(page_fault(SHADOW_UNSYNCED, 3), VERDICT_RESUME);
	next.root = 0xa000;
	assert_int_equal(page_fault(SHADOW_REFLECT, 3), VERDICT_INJECT);
	assert_int_equal(done.roots, 3);
	assert_true(done.injections == 1 && done.vector == VECTOR_PF && done.error_code == 0x17 && regs[VCPU_CR2] == 0x7fff1000);
	regs[VCPU_CR2] = 0;
	for (unsigned vectoring = 0; vectoring < 2; vectoring++) {
		v->exit.page_fault.vectoring = vectoring;
		assert_int_equal(page_fault(SHADOW_MMIO, PF_WRITE), VERDICT_RESUME);
		assert_true(v->exit.fault.gpa == 0xfee00020 && v->exit.fault.access == ACCESS_WRITE && v->exit.fault.translated);
		assert_int_equal(v->exit.fault.vectoring, vectoring);
	}
	page_fault(SHADOW_EMULATE, 0);
	assert_int_equal(v->exit.fault.access, ACCESS_READ);
	page_fault(SHADOW_EMULATE, PF_FETCH);
	assert_int_equal(v->exit.fault.access, ACCESS_FETCH);
	assert_int_equal(done.nested, 4);
	assert_true(done.injections == 1 && regs[VCPU_CR2] == 0);
}

/* RFLAGS.AC counts with SMAP, for the supervisor. */
static void test_alignment_check(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		sv.paging.cr4 = i & 1 ? CR4_SMAP : 0;
		regs[VCPU_RFLAGS] = i & 2 ? RFLAGS_AC : 2;
		page_fault(SHADOW_RESOLVED, i & 4 ? PF_USER : 0);
		assert_int_equal(done.ac, i == 3);
	}
}

static void test_invlpg(void **state)
{
	(void)state;
	v->exit.page_fault.linear = 0x5000;
	assert_int_equal(handle_invlpg(v, &v->exit), VERDICT_ADVANCE);
	assert_true(done.linear == 0x5000 && done.flushes == 0 && done.flushed == 0);
	next.flush = SHADOW_FLUSH_ADDRESS;
	virtual_mmu_invlpg(v, 0x6000);
	assert_true(done.flushed == 0x6000 && done.flushes == 0);
	next.flush = SHADOW_FLUSH_NONGLOBAL;
	virtual_mmu_invlpg(v, 0x7000);
	assert_int_equal(done.flushes, 1);
	next.flush = SHADOW_FLUSH_ALL;
	virtual_mmu_invlpg(v, 0x7000);
	assert_true(done.flushes == 2 && done.flushed == 0x6000);
	next.flush = SHADOW_FLUSH_NONE;
	sv.flush = SHADOW_FLUSH_ALL; /* which another vCPU has asked for */
	virtual_mmu_invlpg(v, 0x7000);
	assert_int_equal(done.flushes, 3);
}

/* ---- CR3 ---- */

static enum verdict write_cr3(unsigned gpr, uint64_t value)
{
	*(gpr == GPR_RSP ? &regs[VCPU_RSP] : &v->gpr[gpr]) = value;
	v->exit.cr.gpr = (uint8_t)gpr;
	return handle_cr3_write(v, &v->exit);
}

static void test_cr3_writes(void **state)
{
	(void)state;
	next.root = 0x8000;
	assert_int_equal(write_cr3(GPR_RCX, 0x1234000), VERDICT_ADVANCE);
	assert_true(done.cr3 == 0x1234000 && v->cr3 == 0x1234000 && done.root == 0x8000 && done.flushes == 0);
	assert_int_equal(write_cr3(GPR_RSP, 0x5000), VERDICT_ADVANCE);
	assert_int_equal(v->cr3, 0x5000);
	next.cr3 = SHADOW_FLUSH_NONGLOBAL;
	assert_int_equal(write_cr3(GPR_R15, 0xffffff5000), VERDICT_ADVANCE);
	assert_true(v->cr3 == 0xffffff5000 && done.flushes == 1);
	/* Above the physical addresses, in long mode. */
	assert_int_equal(write_cr3(GPR_RCX, 1ULL << 40), VERDICT_INJECT);
	assert_true(done.vector == VECTOR_GP && done.error_code == 0 && v->cr3 == 0xffffff5000 && done.loads == 3);
	next.cr3 = ERR_INVALID;
	assert_int_equal(write_cr3(GPR_RCX, 0x6000), VERDICT_INJECT);
	assert_true(done.injections == 2 && v->cr3 == 0xffffff5000 && done.flushes == 1);
	assert_int_equal(cr3_write(v, 0x6000), ERR_INVALID);
	next.cr3 = 0;
	assert_int_equal(cr3_write(v, 0x6000), 0);
	assert_int_equal(v->cr3, 0x6000);
	/* Other code has 32 bits of the register. */
	context.cs_access = 0xc09b;
	assert_int_equal(write_cr3(GPR_RCX, 0xffffffff00007000), VERDICT_ADVANCE);
	assert_int_equal(v->cr3, 0x7000);
	sv.paging.efer = 0;
	assert_int_equal(cr3_write(v, 1ULL << 40), 0);
}

static void read_cr3(unsigned gpr, unsigned length)
{
	v->exit.cr.gpr = (uint8_t)gpr;
	v->exit.length = 3;
	assert_int_equal(handle_cr3_read(v, &v->exit), VERDICT_ADVANCE);
	assert_int_equal(v->exit.length, length);
}

/* A kernel's entry: MOV RSP, AND, MOV back, which one exit does. */
static const char entry[] = "\x0f\x20\xdc\x48\x81\xe4\xff\xe7\xff\xff\x0f\x22\xdc";

static void put_code(void)
{
	memcpy(ram + CODE, entry, sizeof(entry) - 1);
	/* Four levels that map RIP to it, each table in a page of its own. */
	memcpy(ram + 0x0ff8, &(uint64_t){ 0x1000 | 3 }, 8);  /* PML4 entry 511, at 0 */
	memcpy(ram + 0x1ff0, &(uint64_t){ 0x2000 | 3 }, 8);  /* PDPT entry 510 */
	memcpy(ram + 0x2040, &(uint64_t){ 0x0000 | 0x83 }, 8); /* a page of 2 MiB: entry 8 */
	sv.paging.cr0 = CR0_PE | CR0_PG;
	sv.paging.cr4 = CR4_PAE;
	sv.paging.cr3 = 0;
	regs[VCPU_RIP] = RIP;
	regs[VCPU_RFLAGS] = RFLAGS_IF | RFLAGS_STATUS | 2;
	v->cr3 = 0x9800;
}

static void test_cr3_reads(void **state)
{
	(void)state;
	v->cr3 = 0x5000;
	regs[VCPU_RIP] = 0x1000;
	read_cr3(GPR_RDI, 3);
	assert_int_equal(v->gpr[GPR_RDI], 0x5000);
	read_cr3(GPR_RSP, 3);
	assert_int_equal(regs[VCPU_RSP], 0x5000);
	assert_int_equal(done.lookups, 0); /* nobody looks for a sequence in the lower half */
	assert_int_equal(done.loads, 0);
}

static void test_sequence(void **state)
{
	(void)state;
	put_code();
	read_cr3(GPR_RSP, 13);
	assert_int_equal(done.cr3, 0x8000);
	assert_int_equal(v->cr3, 0x8000);
	assert_int_equal(regs[VCPU_RSP], 0x8000);
	assert_int_equal(v->gpr[GPR_RSP], 0);
	assert_int_equal(regs[VCPU_RFLAGS], RFLAGS_IF | RFLAGS_PF | 2);
	/* It is remembered while nothing changes, from the second time on, and found again after a change of the tables. */
	assert_int_equal(done.lookups, 1);
	read_cr3(GPR_RSP, 13);
	assert_int_equal(done.lookups, 2);
	v->cr3 = 0x1800;
	read_cr3(GPR_RSP, 13);
	assert_int_equal(done.lookups, 2);
	assert_int_equal(v->cr3, 0);
	assert_int_equal(regs[VCPU_RFLAGS], RFLAGS_IF | RFLAGS_PF | RFLAGS_ZF | 2);
	mmu.entry_changes++;
	v->cr3 = 0x8000000000009801;
	sv.paging.efer = 0; /* else its upper half is refused */
	read_cr3(GPR_RSP, 13);
	assert_int_equal(done.lookups, 3);
	assert_int_equal(regs[VCPU_RFLAGS], RFLAGS_IF | RFLAGS_SF | 2);
	read_cr3(GPR_RSP, 13);
	assert_int_equal(done.lookups, 3);
	sv.root = v->shadow_root = next.root = 0xc000; /* another address space */
	read_cr3(GPR_RSP, 13);
	assert_int_equal(done.lookups, 4);
	read_cr3(GPR_RSP, 13);
	assert_int_equal(done.lookups, 4);
}

/* Only the MOV is done where more would be wrong. */
static void no_sequence(unsigned gpr)
{
	unsigned loads = done.loads;

	v->cr3 = 0x9800;
	read_cr3(gpr, 3);
	assert_int_equal(gpr == GPR_RSP ? regs[VCPU_RSP] : v->gpr[gpr], 0x9800);
	assert_int_equal(done.loads, loads);
}

static void test_no_sequence(void **state)
{
	(void)state;
	put_code();
	no_sequence(GPR_RCX); /* another register's */
	regs[VCPU_RFLAGS] = 2 | RFLAGS_TF;
	no_sequence(GPR_RSP);
	regs[VCPU_RFLAGS] = 2;
	for (unsigned bit = 0; bit < 8; bit++) {
		regs[VCPU_DR7] = BIT(bit);
		no_sequence(GPR_RSP);
	}
	regs[VCPU_DR7] = 0x400;
	read_cr3(GPR_RSP, 13);
	/* The code is another, or is no longer there. */
	ram[CODE + 11] = 0x23;
	no_sequence(GPR_RSP);
	ram[CODE + 11] = 0x22;
	next.unmapped = true;
	mmu.entry_changes++;
	no_sequence(GPR_RSP);
	next.unmapped = false;
	read_cr3(GPR_RSP, 13);
	ram[0x2040] = 0x80; /* not present for the guest */
	mmu.entry_changes++;
	next.unmapped = true;
	no_sequence(GPR_RSP);
	next.unmapped = false;
	no_sequence(GPR_RSP);
	ram[0x2040] = 0x83;
	read_cr3(GPR_RSP, 13);
	/* At the end of a page it is not looked for. */
	memmove(ram + CODE + 0x1000 - 23, ram + CODE, 13);
	regs[VCPU_RIP] = RIP + 0x1000 - 23;
	no_sequence(GPR_RSP);
	memmove(ram + CODE + 0x1000 - 24, ram + CODE, 13);
	regs[VCPU_RIP] = RIP + 0x1000 - 24;
	v->cr3 = 0x9800;
	read_cr3(GPR_RSP, 13);
}

/* A value that is refused is refused again at the second MOV itself, which then faults. */
static void test_sequence_refused(void **state)
{
	(void)state;
	put_code();
	next.cr3 = ERR_INVALID;
	read_cr3(GPR_RSP, 10);
	assert_int_equal(regs[VCPU_RSP], 0x8000);
	assert_int_equal(v->cr3, 0x9800);
	assert_int_equal(done.injections, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_out_of_the_guest, setup),
		cmocka_unit_test_setup(test_until_it_leaves, setup),
		cmocka_unit_test_setup(test_back_again, setup),
		cmocka_unit_test_setup(test_one_vcpu_needs_none, setup),
		cmocka_unit_test_setup(test_plan_and_sizes, setup_vcpu), cmocka_unit_test_setup(test_settle, setup_vcpu),
		cmocka_unit_test_setup(test_update, setup_vcpu), cmocka_unit_test_setup(test_page_faults, setup_vcpu),
		cmocka_unit_test_setup(test_alignment_check, setup_vcpu), cmocka_unit_test_setup(test_invlpg, setup_vcpu),
		cmocka_unit_test_setup(test_cr3_writes, setup_vcpu), cmocka_unit_test_setup(test_cr3_reads, setup_vcpu),
		cmocka_unit_test_setup(test_sequence, setup_vcpu), cmocka_unit_test_setup(test_no_sequence, setup_vcpu),
		cmocka_unit_test_setup(test_sequence_refused, setup_vcpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
