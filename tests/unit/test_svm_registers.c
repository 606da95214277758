/* SOURCES: arch/x86_64/svm/svm_registers.c */
/* A vCPU's registers in the VMCB, and what CR0, CR4 and EFER take (APM vol. 2, "System Resources", "Long-Mode Activation"). */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/x86/registers.h"
#include "tests/unit/fakes.h"
#include "vmm/shadow/shadow.h"
#include "vmm/vm/vm_vcpu.h"

struct cpu_features cpu_features;
struct svm_features svm_features;

static struct vm vm;
static struct vcpu v;
static struct svm_vcpu x;
static unsigned flushes;
static uint64_t pdptes_of; /* whose PDPTEs were read last */
static bool refuse_pdptes;

#define OFFERED (CR4_PAE | CR4_PGE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_OSFXSR)
#define LONG (EFER_LME | EFER_LMA)
#define CODE_64 0xa9b /* attributes of a code segment with L */

void svm_flush(struct vcpu *of) { assert_ptr_equal(of, &v); flushes++; }
int shadow_read_pdptes(const struct shadow_mmu *mmu, uint64_t cr3, unsigned maxphyaddr, uint64_t pdpte[4])
{
	(void)mmu; (void)pdpte;
	assert_int_equal(maxphyaddr, 40);
	pdptes_of = cr3;
	return refuse_pdptes ? ERR_INVALID : 0;
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&vm, 0, sizeof(vm));
	memset(&v, 0, sizeof(v));
	memset(&x, 0, sizeof(x));
	memset(&svm_features, 0, sizeof(svm_features));
	vm_attach_vcpu(&vm, &v);
	v.hw = &x;
	v.emulator.paging.maxphyaddr = 40;
	x.cr4_offered = OFFERED;
	x.vmcb.cr0 = CR0_PE | CR0_ET;
	x.vmcb.efer = EFER_SVME;
	x.vmcb.cs.attributes = 0xc9b;
	x.vmcb.tr.attributes = 0x8b;
	x.vmcb.clean = CLEAN_ALL;
	flushes = 0;
	pdptes_of = ~0ULL;
	refuse_pdptes = false;
	return 0;
}

static int setup_shadow(void **state)
{
	static uint8_t nothing;

	setup(state);
	v.shadow = (struct shadow_vcpu *)(void *)&nothing;
	svm_write(&v, VCPU_EFER, 0);
	svm_write(&v, VCPU_CR4, 0);
	svm_write(&v, VCPU_CR0, CR0_PE);
	x.vmcb.clean = CLEAN_ALL;
	return 0;
}

/* ---- Segments ---- */

static void test_segments(void **state)
{
	struct vmcb_segment *const places[SEG_COUNT] = {
		[SEG_ES] = &x.vmcb.es, [SEG_CS] = &x.vmcb.cs, [SEG_SS] = &x.vmcb.ss, [SEG_DS] = &x.vmcb.ds, [SEG_FS] = &x.vmcb.fs,
		[SEG_GS] = &x.vmcb.gs, [SEG_LDTR] = &x.vmcb.ldtr, [SEG_TR] = &x.vmcb.tr,
	};

	(void)state;
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		struct segment_state in = { .selector = (uint16_t)(8 * i + 8), .limit = 0xfffff + i, .access = 0xa0fb, .base = 0x1000 * i + 1 };
		struct segment_state out;

		x.vmcb.clean = CLEAN_ALL;
		svm_write_segment(&v, i, &in);
		assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_SEGMENTS);
		assert_int_equal(places[i]->selector, in.selector);
		assert_int_equal(places[i]->limit, in.limit);
		assert_int_equal(places[i]->attributes, 0xafb);
		assert_int_equal(places[i]->base, in.base);
		svm_read_segment(&v, i, &out);
		assert_int_equal(out.selector, in.selector);
		assert_int_equal(out.limit, in.limit);
		assert_int_equal(out.access, in.access);
		assert_int_equal(out.base, in.base);
		assert_int_equal(x.vmcb.cpl, i < SEG_SS ? 0 : 3);
	}
}

/* An unusable segment has no attributes at all; each attribute has its place. */
static void test_access_rights(void **state)
{
	static const struct { uint32_t access; uint16_t attributes; } each[] = {
		{ SEGMENT_P, 0x080 }, { SEGMENT_P | BIT(12), 0x180 }, { SEGMENT_P | SEGMENT_L, 0x280 }, { SEGMENT_P | SEGMENT_DB, 0x480 },
		{ SEGMENT_P | SEGMENT_G, 0x880 }, { SEGMENT_P | BIT(0), 0x081 }, { SEGMENT_P | SEGMENT_S, 0x090 },
	};
	struct segment_state seg = { .access = SEGMENT_UNUSABLE | 0xa09b };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(each); i++) {
		seg.access = each[i].access;
		svm_write_segment(&v, SEG_DS, &seg);
		assert_int_equal(x.vmcb.ds.attributes, each[i].attributes);
		svm_read_segment(&v, SEG_DS, &seg);
		assert_int_equal(seg.access, each[i].access);
	}
	seg.access = SEGMENT_UNUSABLE | 0xa09b;
	svm_write_segment(&v, SEG_DS, &seg);
	assert_int_equal(x.vmcb.ds.attributes, 0);
	svm_read_segment(&v, SEG_DS, &seg);
	assert_int_equal(seg.access, SEGMENT_UNUSABLE);
	/* The CPL is the VMCB's own field: SYSRET leaves another DPL in SS. */
	x.vmcb.ss.attributes = 0xc93;
	x.vmcb.cpl = 3;
	svm_read_segment(&v, SEG_SS, &seg);
	assert_int_equal(seg.access, 0xc0f3);
	x.vmcb.cpl = 0;
	x.vmcb.ss.attributes = 0xcf3;
	svm_read_segment(&v, SEG_SS, &seg);
	assert_int_equal(seg.access, 0xc093);
}

/* ---- Registers ---- */

static void test_registers(void **state)
{
	const struct { enum vcpu_register reg; const uint64_t *place; } wide[] = {
		{ VCPU_RIP, &x.vmcb.rip }, { VCPU_RSP, &x.vmcb.rsp }, { VCPU_CR3, &x.vmcb.cr3 }, { VCPU_GDT_BASE, &x.vmcb.gdtr.base },
		{ VCPU_IDT_BASE, &x.vmcb.idtr.base }, { VCPU_DR7, &x.vmcb.dr7 }, { VCPU_PAT, &x.vmcb.g_pat }, { VCPU_FS_BASE, &x.vmcb.fs.base },
		{ VCPU_GS_BASE, &x.vmcb.gs.base }, { VCPU_SYSENTER_CS, &x.vmcb.sysenter_cs }, { VCPU_SYSENTER_ESP, &x.vmcb.sysenter_esp },
		{ VCPU_SYSENTER_EIP, &x.vmcb.sysenter_eip },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wide); i++) {
		uint64_t value = 0x8877665544330000 + i;

		x.vmcb.clean = CLEAN_ALL;
		svm_write(&v, wide[i].reg, value);
		assert_int_equal(*wide[i].place, value);
		assert_int_equal(svm_read(&v, wide[i].reg), value);
		if (wide[i].reg != VCPU_RIP && wide[i].reg != VCPU_RSP) /* of no group */
			assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~(CLEAN_CR | CLEAN_CR2 | CLEAN_TABLES | CLEAN_DR | CLEAN_NESTED));
		else
			assert_int_equal(x.vmcb.clean, CLEAN_ALL);
	}
	svm_write(&v, VCPU_GDT_LIMIT, 0x17f);
	svm_write(&v, VCPU_IDT_LIMIT, 0xfff);
	assert_int_equal(x.vmcb.gdtr.limit, 0x17f);
	assert_int_equal(x.vmcb.idtr.limit, 0xfff);
	assert_int_equal(svm_read(&v, VCPU_GDT_LIMIT), 0x17f);
	assert_int_equal(svm_read(&v, VCPU_IDT_LIMIT), 0xfff);
	svm_write(&v, VCPU_RFLAGS, 0x200);
	assert_int_equal(svm_read(&v, VCPU_RFLAGS), 0x202);
	x.vmcb.cr2 = 0x1234;
	assert_int_equal(svm_read(&v, VCPU_CR2), 0x1234);
	v.xcr0 = 7;
	assert_int_equal(svm_read(&v, VCPU_XCR0), 7);
	assert_int_equal(svm_read(&v, VCPU_INTERRUPTIBILITY), 0);
}

static void test_context(void **state)
{
	struct vcpu_context c;

	(void)state;
	x.vmcb.rip = 1;
	x.vmcb.rsp = 2;
	x.vmcb.rflags = 3;
	x.vmcb.cr3 = 4;
	x.vmcb.cr4 = 5;
	x.vmcb.efer = EFER_SVME | LONG;
	x.cr0_cache = CR0_CD;
	x.vmcb.cs.attributes = CODE_64;
	x.vmcb.ss.attributes = 0xc93;
	x.vmcb.cpl = 3;
	svm_read_context(&v, &c);
	assert_true(c.rip == 1 && c.rsp == 2 && c.rflags == 3 && c.cr3 == 4 && c.cr4 == 5);
	assert_int_equal(c.efer, LONG);
	assert_int_equal(c.cr0, CR0_PE | CR0_ET | CR0_CD);
	assert_int_equal(c.cs_access, 0xa09b);
	assert_int_equal(c.ss_access, 0xc0f3);
}

/* ---- What MOV to CR0 takes ---- */

static void refused_cr0(uint64_t value)
{
	struct svm_vcpu before = x;

	assert_int_equal(svm_set_cr0(&v, value), ERR_INVALID);
	assert_memory_equal(&x, &before, sizeof(x));
}

static void test_cr0(void **state)
{
	(void)state;
	refused_cr0(BIT(32) | CR0_PE);
	refused_cr0(BIT(63) | CR0_PE);
	refused_cr0(CR0_PG);
	refused_cr0(CR0_PE | CR0_NW);
	/* Bits that do not exist are dropped, and ET is always set. */
	assert_int_equal(svm_set_cr0(&v, 0xffffffff & ~(uint64_t)(CR0_PG | CR0_CD | CR0_NW)), 0);
	assert_int_equal(svm_read(&v, VCPU_CR0), CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~(CLEAN_CR | CLEAN_CONTROLS));
	assert_int_equal(flushes, 1);
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_WP | CR0_TS), 0);
	assert_int_equal(flushes, 1); /* nothing that bears on translations */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(svm_set_cr0(&v, CR0_PE), 0);
		assert_int_equal(flushes, 2);
	}
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG), 0);
	assert_int_equal(flushes, 3);
	assert_int_equal(svm_set_cr0(&v, 0), 0);
	assert_int_equal(flushes, 4);
	assert_int_equal(x.vmcb.cr0, CR0_ET);
	assert_int_equal(x.vmcb.efer, EFER_SVME);
}

/* Caching stays on; the guest sees its own CD and NW, and exits for each access while they are set. */
static void test_caching(void **state)
{
	const uint32_t accesses = INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0);

	(void)state;
	x.vmcb.intercept_cr = INTERCEPT_CR_READ(3);
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_CD | CR0_NW), 0);
	assert_int_equal(x.vmcb.cr0, CR0_PE | CR0_ET);
	assert_int_equal(svm_read(&v, VCPU_CR0), CR0_PE | CR0_ET | CR0_CD | CR0_NW);
	assert_int_equal(x.vmcb.intercept_cr, accesses | INTERCEPT_CR_READ(3));
	assert_int_equal(svm_set_cr0(&v, CR0_PE), 0);
	assert_int_equal(svm_read(&v, VCPU_CR0), CR0_PE | CR0_ET);
	assert_int_equal(x.vmcb.intercept_cr, INTERCEPT_CR_READ(3));
}

static void test_long_mode(void **state)
{
	(void)state;
	x.vmcb.efer = EFER_SVME | EFER_LME;
	refused_cr0(CR0_PE | CR0_PG); /* without CR4.PAE */
	x.vmcb.cr4 = CR4_PAE;
	x.vmcb.cs.attributes = CODE_64;
	refused_cr0(CR0_PE | CR0_PG);
	x.vmcb.cs.attributes = 0xc9b;
	x.vmcb.tr.attributes = 0x83; /* a TSS of 16 bits */
	refused_cr0(CR0_PE | CR0_PG);
	x.vmcb.tr.attributes = 0x89; /* not every CPU keeps the busy bit */
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG), 0);
	assert_int_equal(x.vmcb.efer, EFER_SVME | LONG);
	assert_int_equal(svm_read(&v, VCPU_EFER), LONG);
	/* It begins with paging, and not again. */
	x.vmcb.tr.attributes = 0x83;
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG | CR0_WP), 0);
	/* Paging does not end in 64-bit code, nor with PCIDs. */
	x.vmcb.cs.attributes = CODE_64;
	refused_cr0(CR0_PE);
	x.vmcb.cs.attributes = 0xc9b;
	x.vmcb.cr4 = CR4_PAE | CR4_PCIDE;
	refused_cr0(CR0_PE);
	x.vmcb.cr4 = CR4_PAE;
	assert_int_equal(svm_set_cr0(&v, CR0_PE), 0);
	assert_int_equal(x.vmcb.efer, EFER_SVME | EFER_LME);
}

/* ---- CR4 and EFER ---- */

static void test_cr4(void **state)
{
	static const uint64_t flushing[] = { CR4_PAE, CR4_PGE, CR4_SMEP, CR4_SMAP, CR4_PSE };

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++)
		if (!(OFFERED & BIT(bit)))
			assert_int_equal(svm_set_cr4(&v, BIT(bit)), ERR_INVALID);
	assert_int_equal(x.vmcb.cr4, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(flushing); i++) {
		svm_set_cr4(&v, 0);
		flushes = 0;
		x.vmcb.clean = CLEAN_ALL;
		assert_int_equal(svm_set_cr4(&v, flushing[i]), 0);
		assert_int_equal(flushes, 1);
		assert_int_equal(svm_read(&v, VCPU_CR4), flushing[i]);
		assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_CR);
		assert_int_equal(svm_set_cr4(&v, flushing[i] | CR4_OSFXSR), 0);
		assert_int_equal(flushes, 1);
	}
	/* In long mode PAE stays; PCIDs come there alone, while CR3's are 0. */
	assert_int_equal(svm_set_cr4(&v, CR4_PAE | CR4_PCIDE), ERR_INVALID);
	x.vmcb.efer = EFER_SVME | LONG;
	svm_set_cr4(&v, CR4_PAE);
	assert_int_equal(svm_set_cr4(&v, 0), ERR_INVALID);
	x.vmcb.cr3 = 0x5001;
	assert_int_equal(svm_set_cr4(&v, CR4_PAE | CR4_PCIDE), ERR_INVALID);
	x.vmcb.cr3 = 0x5800;
	assert_int_equal(svm_set_cr4(&v, CR4_PAE | CR4_PCIDE), ERR_INVALID);
	x.vmcb.cr3 = 0x5000;
	flushes = 0;
	assert_int_equal(svm_set_cr4(&v, CR4_PAE | CR4_PCIDE), 0);
	assert_int_equal(flushes, 1);
	x.vmcb.cr3 = 0x5001;
	assert_int_equal(svm_set_cr4(&v, CR4_PAE | CR4_PCIDE | CR4_OSFXSR), 0);
}

static void test_efer(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++)
		if (bit != 0 && bit != 8 && bit != 10 && bit != 11)
			assert_int_equal(svm_set_efer(&v, BIT(bit)), ERR_INVALID);
	x.vmcb.clean = CLEAN_ALL;
	assert_int_equal(svm_set_efer(&v, EFER_SCE | EFER_LME | EFER_LMA), 0);
	assert_int_equal(svm_read(&v, VCPU_EFER), EFER_SCE | EFER_LME); /* LMA is the CPU's */
	assert_int_equal(x.vmcb.efer, EFER_SCE | EFER_LME | EFER_SVME);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_CR);
	assert_int_equal(flushes, 0);
	assert_int_equal(svm_set_efer(&v, EFER_LME | EFER_NXE), 0);
	assert_int_equal(flushes, 1);
	/* LME does not change while paging is on. */
	x.vmcb.cr4 = CR4_PAE;
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG), 0);
	assert_int_equal(svm_set_efer(&v, EFER_NXE), ERR_INVALID);
	assert_int_equal(svm_set_efer(&v, EFER_LME | EFER_SCE), 0);
	assert_int_equal(svm_read(&v, VCPU_EFER), LONG | EFER_SCE);
}

/* ---- Shadow paging: the hardware's registers beside the guest's ---- */

static void test_shadow_registers(void **state)
{
	const uint32_t accesses = INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0);
	struct vcpu_context c;

	(void)state;
	assert_int_equal(x.vmcb.cr0, CR0_PE | CR0_ET | CR0_PG | CR0_WP);
	assert_int_equal(x.vmcb.cr4, CR4_PAE);
	assert_int_equal(x.vmcb.efer, EFER_SVME | EFER_NXE);
	assert_int_equal(svm_read(&v, VCPU_CR0), CR0_PE | CR0_ET);
	assert_int_equal(svm_read(&v, VCPU_CR4), 0);
	assert_int_equal(svm_read(&v, VCPU_EFER), 0);
	assert_int_equal(x.vmcb.intercept_cr, accesses | INTERCEPT_CR_READ(4) | INTERCEPT_CR_READ(3) | INTERCEPT_CR_WRITE(3) | INTERCEPT_CR_WRITE(4));
	svm_write(&v, VCPU_CR3, 0x7000);
	assert_int_equal(x.vmcb.cr3, 0);
	assert_int_equal(svm_read(&v, VCPU_CR3), 0x7000);
	x.vmcb.clean = CLEAN_ALL;
	svm_shadow_root(&v, 0);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL);
	svm_shadow_root(&v, 0x123000);
	assert_int_equal(x.vmcb.cr3, 0x123000);
	assert_int_equal(x.vmcb.clean, CLEAN_ALL & ~CLEAN_CR);
	/* TS and MP are what the hardware has: a write that changes nothing else does not exit. */
	x.vmcb.cr0 |= CR0_TS | CR0_MP;
	assert_int_equal(svm_read(&v, VCPU_CR0), CR0_PE | CR0_ET | CR0_TS | CR0_MP);
	svm_write(&v, VCPU_EFER, EFER_LME);
	svm_read_context(&v, &c);
	assert_true(c.cr3 == 0x7000 && c.cr4 == 0 && c.efer == EFER_LME);
	assert_int_equal(c.cr0, CR0_PE | CR0_ET | CR0_TS | CR0_MP);
}

/* Where the guest's value is the real one no access exits. SMEP and SMAP wait for paging. */
static void test_shadow_intercepts(void **state)
{
	(void)state;
	assert_int_equal(svm_set_cr4(&v, CR4_PAE | CR4_SMEP | CR4_SMAP), 0);
	assert_int_equal(x.vmcb.cr4, CR4_PAE);
	assert_true(x.vmcb.intercept_cr & INTERCEPT_CR_READ(4));
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG | CR0_WP), 0);
	assert_int_equal(x.vmcb.cr4, CR4_PAE | CR4_SMEP | CR4_SMAP);
	assert_int_equal(x.vmcb.intercept_cr, INTERCEPT_CR_READ(3) | INTERCEPT_CR_WRITE(3) | INTERCEPT_CR_WRITE(4));
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG | CR0_WP | CR0_CD), 0);
	assert_int_equal(x.vmcb.cr0, CR0_PE | CR0_PG | CR0_WP | CR0_ET);
	assert_true(x.vmcb.intercept_cr & INTERCEPT_CR_READ(0));
	assert_true(x.vmcb.intercept_cr & INTERCEPT_CR_WRITE(0));
}

/* PAE's four entries are read where it begins, from the guest's CR3, and refused with reserved bits. In long mode there are none. */
static void test_shadow_pdptes(void **state)
{
	(void)state;
	v.cr3 = 0x9000;
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG), 0); /* two levels */
	assert_int_equal(svm_set_cr0(&v, CR0_PE), 0);
	assert_int_equal(svm_set_cr4(&v, CR4_PAE), 0); /* no paging */
	assert_int_equal(pdptes_of, ~0ULL);
	refuse_pdptes = true;
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG), ERR_INVALID);
	assert_int_equal(pdptes_of, 0x9000);
	assert_false(svm_read(&v, VCPU_CR0) & CR0_PG);
	assert_int_equal(svm_set_cr4(&v, 0), 0);
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG), 0);
	assert_int_equal(svm_set_cr4(&v, CR4_PAE), ERR_INVALID);
	assert_int_equal(svm_read(&v, VCPU_CR4), 0);
	assert_int_equal(svm_set_cr0(&v, CR0_PE), 0);
	assert_int_equal(svm_set_cr4(&v, CR4_PAE), 0);
	assert_int_equal(svm_set_efer(&v, EFER_LME), 0);
	assert_int_equal(svm_set_cr0(&v, CR0_PE | CR0_PG), 0);
	assert_int_equal(svm_read(&v, VCPU_EFER), LONG);
	assert_int_equal(x.vmcb.efer, EFER_SVME | LONG | EFER_NXE);
}

/* LME is in the hardware's EFER as LMA is; in legacy mode the CPU is to load CR3's entries at each entry. */
static void test_shadow_efer(void **state)
{
	(void)state;
	svm_features.clean = CLEAN_ALL;
	assert_int_equal(svm_set_efer(&v, EFER_LME | EFER_SCE), 0);
	assert_int_equal(x.vmcb.efer, EFER_SVME | EFER_SCE | EFER_NXE);
	assert_int_equal(x.clean, CLEAN_ALL & ~CLEAN_CR);
	svm_set_cr4(&v, CR4_PAE);
	svm_set_cr0(&v, CR0_PE | CR0_PG);
	assert_int_equal(x.clean, CLEAN_ALL);
	svm_set_cr0(&v, CR0_PE);
	assert_int_equal(x.clean, CLEAN_ALL & ~CLEAN_CR);
	assert_int_equal(x.vmcb.efer, EFER_SVME | EFER_SCE | EFER_NXE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_segments, setup),
		cmocka_unit_test_setup(test_access_rights, setup),
		cmocka_unit_test_setup(test_registers, setup),
		cmocka_unit_test_setup(test_context, setup),
		cmocka_unit_test_setup(test_cr0, setup),
		cmocka_unit_test_setup(test_caching, setup),
		cmocka_unit_test_setup(test_long_mode, setup),
		cmocka_unit_test_setup(test_cr4, setup),
		cmocka_unit_test_setup(test_efer, setup),
		cmocka_unit_test_setup(test_shadow_registers, setup_shadow),
		cmocka_unit_test_setup(test_shadow_intercepts, setup_shadow),
		cmocka_unit_test_setup(test_shadow_pdptes, setup_shadow),
		cmocka_unit_test_setup(test_shadow_efer, setup_shadow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
