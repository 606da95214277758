/* SOURCES: vmm/vcpu/vcpu.c vmm/vcpu/vcpu_emulator.c vmm/emulate/code_memory.c vmm/memory/guest_memory.c */
/* A vCPU's life, from its creation over INIT and SIPI to its dump, and what it gives the emulator and takes from it. */
#include "tests/unit/unit.h"

#include <string.h>

#include "lib/x86/registers.h"
#include "lib/x86/vectors.h"
#include "tests/unit/fakes.h"
#include "vmm/exits/exit.h"
#include "vmm/memory/layout.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/real_mode.h"
#include "vmm/vcpu/vcpu_emulator.h"
#include "vmm/vm/arena.h"
#include "vmm/vm/vm_vcpu.h"

static struct vm vm;
static struct vcpu v;
static _Alignas(4096) uint8_t page[4096], ram[0x8000];
static struct shadow_mmu shadow;
static uint64_t regs[VCPU_REGISTERS];
static struct segment_state segs[SEG_COUNT];
static struct vcpu_context context;

/* What happened. */
static unsigned resets, inits, mmu_looks, mode_looks, runs, emulations, dumps, planned, wires, lapic_inits;
static bool may_enter, no_memory, bus_full, delivery, walk_fails;
static int apic_mode, irr, isr;
static unsigned told_irr, told_isr, told_eoi;
static struct vcpu_event event;
static struct { uint64_t address, value, size; unsigned count; } mmio, port, apic, written;

/* ---- The engine ---- */

static uint64_t engine_read(struct vcpu *of, enum vcpu_register reg) { (void)of; return regs[reg]; }
static void engine_write(struct vcpu *of, enum vcpu_register reg, uint64_t value) { (void)of; regs[reg] = value; }
static void engine_context(struct vcpu *of, struct vcpu_context *c) { (void)of; *c = context; }
static void engine_read_segment(struct vcpu *of, enum segment_register seg, struct segment_state *s) { (void)of; *s = segs[seg]; }
static void engine_write_segment(struct vcpu *of, enum segment_register seg, const struct segment_state *s) { (void)of; segs[seg] = *s; }
static void engine_inject(struct vcpu *of, const struct vcpu_event *e) { (void)of; event = *e; }
static void engine_reset(struct vcpu *of, bool init) { assert_int_equal(of->gpr[GPR_RDX], 0x806f8); *(init ? &inits : &resets) += 1; }
static void engine_run(struct vcpu *of) { assert_true(of->has_core); runs++; }
static void engine_dump(struct vcpu *of) { (void)of; dumps++; }
static int engine_create(struct vcpu *of) { (void)of; return 0; }
static bool engine_delivery(const struct engine_vm *of) { (void)of; return delivery; }
static void engine_plan(struct arena_plan *plan) { (void)plan; planned |= 1; }
static void engine_mode(struct vcpu *of, enum vcpu_apic_mode mode) { (void)of; apic_mode = (int)mode; }
static void engine_eoi(struct vcpu *of, const uint64_t bitmap[4]) { assert_ptr_equal(bitmap, of->lapic.eoi_exit); told_eoi++; }
static void engine_virtual(struct vcpu *of, uint8_t highest_irr, uint8_t highest_isr) { (void)of; told_irr = highest_irr; told_isr = highest_isr; }
static const struct engine engine = {
	.read = engine_read, .write = engine_write, .read_context = engine_context, .read_segment = engine_read_segment,
	.write_segment = engine_write_segment, .inject = engine_inject, .vcpu_reset = engine_reset, .run = engine_run, .dump = engine_dump,
	.vcpu_create = engine_create, .hw_delivery = engine_delivery, .plan_vcpu = engine_plan, .apic_mode = engine_mode,
	.eoi_exits = engine_eoi, .virtual_interrupts = engine_virtual,
};

/* ---- Around it ---- */

void *vm_alloc_pages(struct vm *of, unsigned pages) { (void)of; assert_int_equal(pages, 1); return no_memory ? NULL : page; }
void timer_queue_init(struct timer_queue *queue, struct vcpu *of) { assert_ptr_equal(queue, &of->timers); }
void lapic_init(struct lapic *l, struct vm *of, unsigned index, uint32_t id, void *p, bool hw)
{
	(void)of;
	assert_ptr_equal(p, page);
	assert_int_equal(index, id);
	l->apic_id = id;
	l->hw_delivery = hw;
}
int lapic_bus_add(struct lapic_bus *bus, struct lapic *l) { (void)bus; (void)l; return bus_full ? ERR_RANGE : 0; }
void lapic_reset(struct lapic *l, bool bsp) { (void)l; lapic_inits += bsp ? 1 : 0x10; }
void lapic_init_reset(struct lapic *l) { (void)l; lapic_inits += 0x100; }
void lapic_virtual_wire(struct lapic *l) { (void)l; wires++; }
void lapic_set_tsc_offset(struct lapic *l, int64_t offset) { l->tsc_offset = offset; }
int lapic_highest_irr(const struct lapic *l) { (void)l; return irr; }
int lapic_highest_isr(const struct lapic *l) { (void)l; return isr; }
uint64_t lapic_mmio_read(struct lapic *l, unsigned offset, unsigned size) { (void)l; apic.address = offset; apic.size = size; return 0x1a; }
void lapic_mmio_write(struct lapic *l, unsigned offset, unsigned size, uint64_t value)
{
	(void)l;
	apic.address = offset;
	apic.size = size;
	apic.value = value;
	apic.count++;
}
uint64_t io_space_read(struct io_space *space, uint64_t addr, unsigned size)
{
	*(space == &vm.pio ? &port.address : &mmio.address) = addr;
	*(space == &vm.pio ? &port.size : &mmio.size) = size;
	return space == &vm.pio ? 0x10 : 0x20;
}
void io_space_write(struct io_space *space, uint64_t addr, unsigned size, uint64_t value)
{
	*(space == &vm.pio ? &port.address : &mmio.address) = addr;
	*(space == &vm.pio ? &port.size : &mmio.size) = size;
	*(space == &vm.pio ? &port.value : &mmio.value) = value;
	mmio.count++;
}
bool shadow_rewritten(struct shadow_mmu *m, uint64_t gpa) { assert_ptr_equal(m, &shadow); return gpa == 0x5000; }
void virtual_mmu_written(struct vcpu *of, uint64_t gpa, unsigned size) { (void)of; written.address = gpa; written.size = size; written.count++; }
void virtual_mmu_update(struct vcpu *of) { assert_int_equal(of->shadow_root, 0); mmu_looks++; }
int virtual_mmu_add_vcpu(struct vcpu *of) { of->shadow = (struct shadow_vcpu *)(void *)page; return 0; }
void virtual_mmu_plan_vcpu(struct arena_plan *plan) { (void)plan; planned |= 2; }
int real_mode_create(struct vcpu *of) { of->real_mode = (struct real_mode *)(void *)page; return 0; }
void real_mode_plan(struct arena_plan *plan, const struct engine *e) { (void)plan; (void)e; planned |= 4; }
void real_mode_check(struct vcpu *of) { (void)of; mode_looks++; }
void real_mode_run(struct vcpu *of) { assert_true(of->has_core); emulations++; }
bool vcpu_prepare(struct vcpu *of) { (void)of; return may_enter; }
bool vcpu_may_enter(struct vcpu *of) { of->in_guest = may_enter; return may_enter; }
void exit_turn_is_over(struct vcpu *of) { of->turn_start = of->exit_start; }
int guest_walk(const struct guest_memory *mem, const struct guest_paging *paging, uint64_t linear, unsigned access, uint64_t *gpa,
	       uint32_t *pf_error, uint64_t *page_size)
{
	(void)mem; (void)pf_error; (void)page_size;
	assert_int_equal(access, WALK_READ | WALK_IMPLICIT);
	assert_int_equal(paging->cpl, 0);
	assert_int_equal(paging->cr3, regs[VCPU_CR3]);
	*gpa = linear - 0x100000;
	return walk_fails ? ERR_NOENT : 0;
}

static void create(unsigned index, bool shadowed)
{
	memset(&v, 0, sizeof(v));
	vm.shadow = shadowed ? &shadow : NULL;
	assert_int_equal(vcpu_create(&v, &vm, index), 0);
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(regs, 0, sizeof(regs));
	memset(segs, 0, sizeof(segs));
	memset(ram, 0x90, sizeof(ram));
	memset(&event, 0, sizeof(event));
	memset(&mmio, 0, sizeof(mmio));
	memset(&port, 0, sizeof(port));
	memset(&apic, 0, sizeof(apic));
	memset(&written, 0, sizeof(written));
	assert_int_equal(guest_memory_add(&vm.memory, 0, sizeof(ram), ram), 0);
	vm.engine = &engine;
	vm.config.numvcpus = 2;
	vm.cpuid.basic[1][CPUID_EAX] = 0x806f8;
	vm.cpuid.extended[8][CPUID_EAX] = 0x3028;
	vm.tsc_offset = -77;
	resets = inits = mmu_looks = mode_looks = runs = emulations = dumps = planned = wires = lapic_inits = 0;
	no_memory = bus_full = delivery = walk_fails = false;
	may_enter = true;
	apic_mode = irr = isr = -1;
	told_irr = told_isr = 99;
	told_eoi = 0;
	create(0, false);
	return 0;
}

/* ---- Creation ---- */

static void test_create(void **state)
{
	(void)state;
	assert_int_equal(v.state, VCPU_PARKED);
	assert_int_equal(v.turn_ticks, 50000000);
	assert_false(v.kickable);
	assert_null(v.shadow);
	assert_null(v.real_mode);
	assert_int_equal(v.emulator.paging.maxphyaddr, 40);
	fake.hz = 1ULL << 40;
	create(1, true);
	assert_int_equal(v.turn_ticks, UINT32_MAX);
	assert_int_equal(v.index, 1);
	assert_int_equal(v.lapic.apic_id, 1);
	assert_true(v.kickable);
	assert_non_null(v.shadow);
	assert_non_null(v.real_mode);
	vm.config.numvcpus = 1;
	delivery = true;
	create(0, true);
	assert_false(v.kickable);
	assert_true(v.hw_delivery && v.lapic.hw_delivery);
	bus_full = true;
	assert_int_equal(vcpu_create(&v, &vm, 1), ERR_RANGE);
	no_memory = true;
	assert_int_equal(vcpu_create(&v, &vm, 1), ERR_NOMEM);
}

static void test_plan(void **state)
{
	struct arena_plan plan = { 0 };

	(void)state;
	vcpu_plan(&plan, &engine, false);
	assert_int_equal(planned, 1);
	assert_int_equal(plan.pages, 1);
	vcpu_plan(&plan, &engine, true);
	assert_int_equal(planned, 7);
}

static void test_registers(void **state)
{
	(void)state;
	for (unsigned i = 0; i < GPR_COUNT; i++)
		vcpu_write_gpr(&v, i, 100 + i);
	assert_int_equal(regs[VCPU_RSP], 100 + GPR_RSP);
	assert_int_equal(v.gpr[GPR_RSP], 0);
	for (unsigned i = 0; i < GPR_COUNT; i++)
		assert_int_equal(vcpu_read_gpr(&v, i), 100 + i);
	assert_int_equal(v.gpr[GPR_R15], 115);
}

/* ---- Reset, INIT, SIPI ---- */

static const struct guest_start start = { .mode = GUEST_START_LONG, .rip = 0x100200, .rax = 1, .rbx = 2, .rsi = 3, .cr0 = 0x80000001, .cr3 = 0x8000,
					  .cr4 = 0x20, .efer = 0x500, .gdt_base = 0x6000, .gdt_limit = 0x1f, .cs = 0x10, .ds = 0x18 };

static void test_reset_of_the_first(void **state)
{
	(void)state;
	vm.start = start;
	regs[VCPU_IDT_LIMIT] = 0xffff;
	memset(v.gpr, 0xff, sizeof(v.gpr));
	v.nmis_pending = 1;
	v.by_emulation = true;
	v.tsc_adjust = 5;
	v.shadow_root = 7;
	vcpu_reset(&v);
	assert_int_equal(v.state, VCPU_RUNNING);
	assert_int_equal(resets, 1);
	assert_int_equal(inits, 0);
	assert_int_equal(lapic_inits, 1);
	assert_int_equal(wires, 1);
	assert_int_equal(mmu_looks, 2);
	assert_int_equal(mode_looks, 2);
	assert_int_equal(v.tsc_adjust, 0);
	assert_int_equal(v.lapic.tsc_offset, -77);
	assert_false(v.nmis_pending || v.by_emulation);
	assert_int_equal(v.xcr0, 1);
	assert_int_equal(v.misc_enable, 0x1801);
	assert_true(v.gpr[GPR_RAX] == 1 && v.gpr[GPR_RBX] == 2 && v.gpr[GPR_RSI] == 3 && v.gpr[GPR_RCX] == 0);
	assert_true(regs[VCPU_RIP] == 0x100200 && regs[VCPU_CR0] == 0x80000001 && regs[VCPU_CR3] == 0x8000 && regs[VCPU_CR4] == 0x20);
	assert_true(regs[VCPU_EFER] == 0x500 && regs[VCPU_GDT_BASE] == 0x6000 && regs[VCPU_GDT_LIMIT] == 0x1f && regs[VCPU_IDT_LIMIT] == 0);
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		bool code = i == SEG_CS, set = i <= SEG_GS;

		assert_int_equal(segs[i].selector, !set ? 0 : code ? 0x10 : 0x18);
		assert_int_equal(segs[i].access, !set ? 0 : code ? 0xa09b : 0xc093);
		assert_int_equal(segs[i].limit, set ? 0xffffffff : 0);
	}
	vm.start.mode = GUEST_START_PROTECTED;
	vcpu_reset(&v);
	assert_int_equal(segs[SEG_CS].access, 0xc09b);
	vcpu_debug_bad_entry = true;
	vcpu_reset(&v);
	vcpu_debug_bad_entry = false;
	assert_int_equal(segs[SEG_CS].access, 0xc01b);
}

static void test_reset_of_another(void **state)
{
	(void)state;
	create(1, false);
	vm.start = start;
	vcpu_reset(&v);
	assert_int_equal(v.state, VCPU_WAIT_FOR_SIPI);
	assert_int_equal(lapic_inits, 0x10);
	assert_int_equal(wires, 0);
	assert_int_equal(regs[VCPU_RIP], 0);
	assert_int_equal(v.gpr[GPR_RAX], 0);
	assert_int_equal(mmu_looks, 1);
}

/* There is no firmware at the reset vector. */
static void test_init_to_the_first(void **state)
{
	(void)state;
	v.state = VCPU_RUNNING;
	vcpu_take_init(&v);
	assert_int_equal(fake.request, VM_REQUEST_RESET);
	assert_int_equal(v.state, VCPU_RUNNING);
	assert_int_equal(inits, 0);
}

static void test_init_and_sipi(void **state)
{
	(void)state;
	create(1, false);
	v.state = VCPU_HALTED;
	v.xcr0 = 7;
	v.misc_enable = 9;
	segs[SEG_CS].limit = 0xffff;
	vcpu_take_init(&v);
	assert_int_equal(v.state, VCPU_WAIT_FOR_SIPI);
	assert_int_equal(lapic_inits, 0x100);
	assert_int_equal(inits, 1);
	assert_int_equal(resets, 0);
	assert_true(v.xcr0 == 7 && v.misc_enable == 9); /* INIT leaves them */
	regs[VCPU_RIP] = 0x1234;
	v.sipi_vector = 0x9a;
	vcpu_take_sipi(&v);
	assert_int_equal(v.state, VCPU_RUNNING);
	assert_true(segs[SEG_CS].selector == 0x9a00 && segs[SEG_CS].base == 0x9a000 && segs[SEG_CS].limit == 0xffff);
	assert_int_equal(regs[VCPU_RIP], 0);
	regs[VCPU_RIP] = 0x1234;
	v.sipi_vector = 0x10;
	vcpu_take_sipi(&v); /* it runs: nothing */
	assert_int_equal(segs[SEG_CS].selector, 0x9a00);
	assert_int_equal(regs[VCPU_RIP], 0x1234);
}

static void test_apic_mode(void **state)
{
	(void)state;
	vcpu_apply_apic_mode(&v);
	assert_int_equal(apic_mode, -1);
	v.hw_delivery = true;
	vcpu_apply_apic_mode(&v);
	assert_int_equal(apic_mode, APIC_MODE_DISABLED);
	assert_true(told_irr == 0 && told_isr == 0 && told_eoi == 1);
	v.lapic.enabled = true;
	irr = 0x41;
	isr = 0x31;
	vcpu_apply_apic_mode(&v);
	assert_int_equal(apic_mode, APIC_MODE_XAPIC);
	assert_true(told_irr == 0x41 && told_isr == 0x31);
	v.lapic.x2apic = true;
	vcpu_apply_apic_mode(&v);
	assert_int_equal(apic_mode, APIC_MODE_X2APIC);
}

/* ---- Running ---- */

static void test_run(void **state)
{
	(void)state;
	vm.boot_ticks = 5;
	vcpu_run(&v);
	assert_int_equal(runs, 1);
	assert_false(v.has_core || v.in_guest);
	assert_int_equal(vm.boot_ticks, 0);
	may_enter = false;
	vcpu_run(&v);
	assert_int_equal(runs, 1);
	v.by_emulation = true;
	vcpu_run(&v);
	assert_int_equal(emulations, 0);
	may_enter = true;
	vcpu_run(&v);
	assert_int_equal(emulations, 1);
	assert_int_equal(runs, 1);
	assert_false(v.has_core);
	create(1, false);
	vm.boot_ticks = 5;
	vcpu_run(&v);
	assert_int_equal(vm.boot_ticks, 5); /* the first vCPU's is counted */
}

static void test_exceptions(void **state)
{
	(void)state;
	vcpu_inject_exception(&v, VECTOR_GP, 0x18);
	assert_true(event.type == EVENT_EXCEPTION && event.vector == VECTOR_GP && event.has_error && event.error == 0x18);
	vcpu_inject_exception(&v, VECTOR_UD, 0);
	assert_true(event.vector == VECTOR_UD && !event.has_error);
}

/* CR3's bits 31:5 say where they are. */
static void test_pdptes(void **state)
{
	uint64_t pdpte[4];

	(void)state;
	for (unsigned i = 0; i < 32; i++)
		ram[0x7fe0 + i] = (uint8_t)i;
	assert_int_equal(vcpu_read_pdptes(&v, 0xabcdef0100007fffULL & ~0x100000000000000ULL, pdpte), 0);
	assert_int_equal(pdpte[0], 0x0706050403020100);
	assert_int_equal(pdpte[3], 0x1f1e1d1c1b1a1918);
	assert_int_equal(vcpu_read_pdptes(&v, 0x8000, pdpte), ERR_RANGE);
}

static void test_dump(void **state)
{
	(void)state;
	v.gpr[GPR_R15] = 0xabcdef;
	segs[SEG_CS].base = 0x100000;
	regs[VCPU_RIP] = 0x200;
	memcpy(ram + 0x200, "\x0f\xa2\xf4", 3);
	vcpu_dump(&v);
	assert_int_equal(dumps, 1);
	assert_non_null(strstr(fake.log, "R15 0000000000abcdef"));
	assert_non_null(strstr(fake.log, "code at RIP: 0f a2 f4 90 90 90 90 90 90 90 90 90 90 90 90 90 \n"));
	fake_reset();
	regs[VCPU_RIP] = sizeof(ram) - 15;
	vcpu_dump(&v);
	assert_non_null(strstr(fake.log, "code at RIP: not readable"));
	fake_reset();
	regs[VCPU_RIP] = 0x200;
	walk_fails = true;
	vcpu_dump(&v);
	assert_non_null(strstr(fake.log, "code at RIP: not readable"));
}

/* ---- The emulator ---- */

static void test_devices(void **state)
{
	struct emulator *e = &v.emulator;

	(void)state;
	assert_int_equal(e->mmio_read(&v, LAYOUT_LAPIC + 0xfff, 4), 0x1a);
	assert_int_equal(apic.address, 0xfff);
	assert_int_equal(e->mmio_read(&v, LAYOUT_LAPIC - 1, 4), 0x20);
	assert_int_equal(mmio.address, LAYOUT_LAPIC - 1);
	v.exit_start = 100;
	v.turn_ticks = 100;
	assert_int_equal(e->mmio_read(&v, LAYOUT_LAPIC + 0x1000, 2), 0x20);
	assert_int_equal(mmio.size, 2);
	assert_int_equal(v.turn_start, 100); /* who polls a device lets interrupts in */
	assert_int_equal(v.pending, 0);
	e->mmio_write(&v, LAYOUT_LAPIC + 0xb0, 4, 7);
	assert_true(apic.count == 1 && apic.address == 0xb0 && apic.size == 4 && apic.value == 7);
	assert_int_equal(v.pending, PENDING_EVALUATE);
	e->mmio_write(&v, LAYOUT_LAPIC + 0x1000, 8, 9);
	assert_true(apic.count == 1 && mmio.address == LAYOUT_LAPIC + 0x1000 && mmio.size == 8 && mmio.value == 9);
	assert_int_equal(e->port_read(&v, 0x3f8, 1), 0x10);
	assert_true(port.address == 0x3f8 && port.size == 1);
	e->port_write(&v, 0xcf8, 4, 0x80000000);
	assert_true(port.address == 0xcf8 && port.size == 4 && port.value == 0x80000000);
	assert_null(e->written);
}

/* With shadow paging the emulator writes page tables too, which are RAM. */
static void test_shadowed_memory(void **state)
{
	struct emulator *e = &v.emulator;

	(void)state;
	create(0, true);
	for (unsigned size = 1; size <= 8; size *= 2) {
		uint64_t expected = 0x9090909090909090, mask = size == 8 ? ~0ULL : (1ULL << 8 * size) - 1, got;

		memset(ram + 0x100, 0x90, 8);
		e->mmio_write(&v, 0x100, size, 0x1122334455667788);
		memcpy(&got, ram + 0x100, 8);
		assert_int_equal(got, (expected & ~mask) | (0x1122334455667788 & mask));
		assert_true(written.address == 0x100 && written.size == size);
		assert_int_equal(e->mmio_read(&v, 0x100, size), 0x1122334455667788 & mask);
	}
	assert_int_equal(written.count, 4);
	assert_int_equal(e->mmio_read(&v, sizeof(ram), 4), 0x20);
	e->mmio_write(&v, sizeof(ram), 4, 3);
	assert_int_equal(mmio.value, 3);
	assert_int_equal(written.count, 4);
	e->written(&v, 0x300, 5);
	assert_true(written.address == 0x300 && written.size == 5);
	assert_true(e->rewritten(&v, 0x5000));
	assert_false(e->rewritten(&v, 0x6000));
}

static void test_load(void **state)
{
	static const struct { uint64_t efer, cr0, rflags; uint32_t cs; enum decode_mode mode; } modes[] = {
		{ EFER_LMA, CR0_PE, 2, 0xa09b, DECODE_64 }, { EFER_LMA, CR0_PE, 2, 0xc09b, DECODE_32 }, { 0, CR0_PE, 2, 0xa09b, DECODE_16 },
		{ 0, CR0_PE, 2, 0xc09b, DECODE_32 }, { 0, CR0_PE, 2, 0x009b, DECODE_16 }, { 0, 0, 2, 0xc09b, DECODE_16 },
		{ 0, CR0_PE, RFLAGS_VM, 0xc09b, DECODE_16 },
	};
	struct emulator *e = &v.emulator;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		context = (struct vcpu_context){ .rip = 1, .rsp = 2, .rflags = modes[i].rflags, .cr0 = modes[i].cr0, .cr3 = 4, .cr4 = 5,
						 .efer = modes[i].efer, .cs_access = modes[i].cs, .ss_access = 0xc0f3 };
		e->segments = 0xff;
		vcpu_emulator_load(&v);
		assert_int_equal(e->mode, modes[i].mode);
		assert_true(e->rip == 1 && v.gpr[GPR_RSP] == 2 && e->rflags == modes[i].rflags && e->paging.cr0 == modes[i].cr0);
		assert_true(e->paging.cr3 == 4 && e->paging.cr4 == 5 && e->paging.efer == modes[i].efer && e->segments == 0);
		assert_int_equal(e->paging.cpl, modes[i].cr0 & CR0_PE ? 3 : 0);
		assert_false(e->paging.rflags_ac);
	}
	context.rflags = RFLAGS_AC;
	vcpu_emulator_load(&v);
	assert_true(e->paging.rflags_ac);
}

/* The four entries are read with PAE paging alone. */
static void test_load_pdptes(void **state)
{
	struct emulator *e = &v.emulator;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		context = (struct vcpu_context){ .cr0 = CR0_PE | (i & 1 ? CR0_PG : 0), .cr4 = i & 2 ? CR4_PAE : 0, .efer = i & 4 ? EFER_LMA : 0,
						 .cr3 = 0x1000, .cs_access = 0xc09b };
		memset(e->paging.pdpte, 0, sizeof(e->paging.pdpte));
		vcpu_emulator_load(&v);
		assert_int_equal(e->paging.pdpte[3] != 0, i == 3);
	}
}

static void load(void)
{
	context = (struct vcpu_context){ .rip = 0x1000, .rsp = 0x2000, .rflags = 2 };
	regs[VCPU_RSP] = regs[VCPU_RFLAGS] = regs[VCPU_CR2] = 0xbad;
	vcpu_emulator_load(&v);
}

static void test_conclude(void **state)
{
	(void)state;
	load();
	assert_int_equal(vcpu_emulator_conclude(&v, EMULATE_DONE, 0), VERDICT_ADVANCE);
	assert_int_equal(vcpu_emulator_conclude(&v, EMULATE_RETRY, 0), VERDICT_RESUME);
	assert_true(regs[VCPU_RSP] == 0xbad && regs[VCPU_RFLAGS] == 0xbad); /* what is the same is not written */
	v.gpr[GPR_RSP] = 0x1ff8;
	v.emulator.rflags = 0x46;
	assert_int_equal(vcpu_emulator_conclude(&v, EMULATE_DONE, 0), VERDICT_ADVANCE);
	assert_true(regs[VCPU_RSP] == 0x1ff8 && regs[VCPU_RFLAGS] == 0x46);
	assert_int_equal(event.vector, 0);
	v.emulated = (struct emulate_result){ .vector = VECTOR_GP, .error_code = 3, .cr2 = 0x999 };
	assert_int_equal(vcpu_emulator_conclude(&v, EMULATE_EXCEPTION, 0), VERDICT_INJECT);
	assert_true(event.vector == VECTOR_GP && event.error == 3);
	assert_int_equal(regs[VCPU_CR2], 0xbad);
	v.emulated.vector = VECTOR_PF;
	assert_int_equal(vcpu_emulator_conclude(&v, EMULATE_EXCEPTION, 0), VERDICT_INJECT);
	assert_int_equal(event.vector, VECTOR_PF);
	assert_int_equal(regs[VCPU_CR2], 0x999);
}

static void test_unsupported(void **state)
{
	(void)state;
	load();
	v.gpr[GPR_RSP] = 0x1ff8;
	v.emulated.byte_count = 3;
	memcpy(v.emulated.bytes, "\x0f\x0a\xc5\xff", 4);
	assert_int_equal(vcpu_emulator_conclude(&v, EMULATE_UNSUPPORTED, 0xfee00000), VERDICT_STOP);
	assert_int_equal(fake.request, VM_REQUEST_STOP);
	assert_int_equal(regs[VCPU_RSP], 0xbad);
	assert_non_null(strstr(fake.log, "at 1000 for an access to fee00000: 0f 0a c5 \n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_create, setup), cmocka_unit_test_setup(test_plan, setup),
		cmocka_unit_test_setup(test_registers, setup), cmocka_unit_test_setup(test_reset_of_the_first, setup),
		cmocka_unit_test_setup(test_reset_of_another, setup), cmocka_unit_test_setup(test_init_to_the_first, setup),
		cmocka_unit_test_setup(test_init_and_sipi, setup), cmocka_unit_test_setup(test_apic_mode, setup),
		cmocka_unit_test_setup(test_run, setup), cmocka_unit_test_setup(test_exceptions, setup),
		cmocka_unit_test_setup(test_pdptes, setup), cmocka_unit_test_setup(test_dump, setup),
		cmocka_unit_test_setup(test_devices, setup), cmocka_unit_test_setup(test_shadowed_memory, setup),
		cmocka_unit_test_setup(test_load, setup), cmocka_unit_test_setup(test_load_pdptes, setup),
		cmocka_unit_test_setup(test_conclude, setup), cmocka_unit_test_setup(test_unsupported, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
