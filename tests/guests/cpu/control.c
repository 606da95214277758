/* Control and debug registers: which values they take. */
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"
#include "tests/guests/lib/window.h"

static int write_cr0_safe(uint64_t value)
{
	TRY("movq %0, %%cr0", : "r"(value) : "memory");
	return fault.vector;
}

static int write_cr3_safe(uint64_t value)
{
	TRY("movq %0, %%cr3", : "r"(value) : "memory");
	return fault.vector;
}

static int write_cr4_safe(uint64_t value)
{
	TRY("movq %0, %%cr4", : "r"(value) : "memory");
	return fault.vector;
}

TEST(cr0, "CR0: illegal combinations raise #GP, legal bits stick")
{
	uint64_t cr0 = read_cr0();
	static const uint64_t toggles[] = { CR0_WP, CR0_AM, CR0_TS, CR0_EM, CR0_MP, CR0_NE, CR0_CD };

	CHECK(write_cr0_safe(cr0 & ~CR0_PE) == VECTOR_GP, "PG without PE: expected #GP, saw %d", fault.vector);
	CHECK(write_cr0_safe(cr0 | CR0_NW) == VECTOR_GP, "NW without CD: expected #GP, saw %d", fault.vector);
	if (!cpu_is_amd()) { /* QEMU 7.2 cuts the value to 32 bits */
		CHECK(write_cr0_safe(cr0 | BIT(32)) == VECTOR_GP, "bit 32: expected #GP, saw %d", fault.vector);
		CHECK(write_cr0_safe(cr0 | BIT(63)) == VECTOR_GP, "bit 63: expected #GP, saw %d", fault.vector);
	}
	CHECK(write_cr0_safe(cr0 & ~CR0_PG) == VECTOR_GP, "clearing PG in 64-bit mode: expected #GP, saw %d", fault.vector);
	CHECK_EQUAL("CR0 after the refusals", read_cr0(), cr0);
	for (unsigned i = 0; i < ARRAY_SIZE(toggles); i++) {
		uint64_t value = cr0 ^ toggles[i];

		CHECK(write_cr0_safe(value) == NO_FAULT, "CR0 %llx raises %d", (unsigned long long)value, fault.vector);
		CHECK_EQUAL("CR0", read_cr0(), value);
	}
	write_cr0(cr0);
}

TEST(cr0_ts, "CR0: TS and EM give #NM; CLTS, LMSW and SMSW")
{
	uint64_t cr0 = read_cr0(), value = 0;

	write_cr0(cr0 | CR0_TS);
	TRY("fnop", : : "memory");
	CHECK_FAULT("an x87 instruction under TS", VECTOR_NM, 0);
	TRY("movups %%xmm0, %%xmm1", : : "memory");
	CHECK_FAULT("an SSE instruction under TS", VECTOR_NM, 0);
	__asm__ volatile("smsw %0" : "=r"(value));
	CHECK_EQUAL("SMSW's low half", value & 0xffff, (cr0 | CR0_TS) & 0xffff);
	__asm__ volatile("clts" : : : "memory");
	CHECK_EQUAL("CR0 after CLTS", read_cr0(), cr0);
	TRY("fnop", : : "memory");
	CHECK_NO_FAULT("an x87 instruction after CLTS");
	__asm__ volatile("lmsw %w0" : : "r"((uint16_t)(CR0_PE | CR0_TS | CR0_MP)) : "memory");
	CHECK_EQUAL("CR0 after LMSW set TS", read_cr0(), cr0 | CR0_TS);
	__asm__ volatile("lmsw %w0" : : "r"((uint16_t)CR0_MP) : "memory");
	CHECK_EQUAL("CR0 after LMSW tried to clear PE", read_cr0(), cr0);
	write_cr0(cr0 | CR0_EM);
	TRY("fnop", : : "memory");
	CHECK_FAULT("an x87 instruction under EM", VECTOR_NM, 0);
	TRY("movups %%xmm0, %%xmm1", : : "memory");
	CHECK_FAULT("an SSE instruction under EM", VECTOR_UD, 0);
	write_cr0(cr0);
}

/* What a hypervisor runs with need not be what the guest wrote. */
TEST(cr0_wp, "CR0: WP reads as written, SMSW to memory and 16-bit registers included")
{
	uint64_t cr0 = read_cr0(), value = 0x5555555555555555;
	uint16_t word[3] = { 0xaaaa, 0xaaaa, 0xaaaa };

	write_cr0(cr0 & ~CR0_WP);
	CHECK_EQUAL("CR0 without WP", read_cr0(), cr0 & ~CR0_WP);
	__asm__ volatile("smsw %0" : "=m"(word[1]));
	CHECK_EQUAL("SMSW to memory", word[1], cr0 & 0xffff);
	CHECK_EQUAL("SMSW's memory around it", word[0] == 0xaaaa && word[2] == 0xaaaa, true);
	__asm__ volatile("smsw %w0" : "+r"(value));
	CHECK_EQUAL("SMSW to 16 bits", value, 0x5555555555550000 | (cr0 & 0xffff));
	CHECK_EQUAL("CR0 after SMSW", read_cr0(), cr0 & ~CR0_WP);
	write_cr0(cr0 | CR0_WP);
	CHECK_EQUAL("CR0 with WP", read_cr0(), cr0 | CR0_WP);
	write_cr0(cr0);
}

TEST(cr3, "CR3: bits above the physical-address width raise #GP")
{
	uint64_t cr3 = read_cr3();
	unsigned width = cpuid(0x80000008, 0).eax & 0xff;

	for (unsigned bit = width; bit < 63; bit++)
		CHECK(write_cr3_safe(cr3 | BIT(bit)) == VECTOR_GP, "bit %u: expected #GP, saw %d", bit, fault.vector);
	/* Bit 63 is the PCID no-flush bit, reserved while CR4.PCIDE is clear. */
	CHECK(write_cr3_safe(cr3 | BIT(63)) == VECTOR_GP, "bit 63: expected #GP, saw %d", fault.vector);
	CHECK(write_cr3_safe(cr3 | 0x18) == NO_FAULT, "PWT and PCD raise %d", fault.vector);
	CHECK_EQUAL("CR3 with PWT and PCD", read_cr3(), cr3 | 0x18);
	write_cr3(cr3);
}

TEST(cr4, "CR4: each bit follows CPUID, reserved bits raise #GP")
{
	uint64_t cr4 = read_cr4();
	struct cpuid_regs l1 = cpuid(1, 0), l7 = cpuid(7, 0);
	uint64_t allowed = CR4_OSXMMEXCPT | BIT(9) | CR4_PAE | CR4_PCE;
	/* Bochs 2.7's models keep a few bits settable without their CPUID bit; the list holds those that VMX or paging hang on. */
	static const uint64_t refused_natively = CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_OSXSAVE;

#define ALLOW(reg, bit, flags) allowed |= (reg) & BIT(bit) ? (flags) : 0
	ALLOW(l1.edx, 1, CR4_VME | BIT(1));
	ALLOW(l1.edx, 2, CR4_DE);
	ALLOW(l1.edx, 3, BIT(4));
	ALLOW(l1.edx, 4, CR4_TSD);
	ALLOW(l1.edx, 7, BIT(6));
	ALLOW(l1.edx, 13, CR4_PGE);
	ALLOW(l1.ecx, 5, CR4_VMXE);
	ALLOW(l1.ecx, 6, CR4_SMXE);
	ALLOW(l1.ecx, 17, CR4_PCIDE);
	ALLOW(l1.ecx, 26, CR4_OSXSAVE);
	ALLOW(l7.ebx, 0, CR4_FSGSBASE);
	ALLOW(l7.ebx, 7, CR4_SMEP);
	ALLOW(l7.ebx, 20, CR4_SMAP);
	ALLOW(l7.ecx, 2, CR4_UMIP);
	ALLOW(l7.ecx, 3, BIT(22));
	ALLOW(l7.ecx, 16, BIT(12));
	ALLOW(l7.ecx, 7, BIT(23));
	ALLOW(l7.edx, 20, BIT(23));
	ALLOW(l7.ecx, 31, BIT(24));
	ALLOW(l7.edx, 5, BIT(25));
#undef ALLOW
	for (unsigned bit = 26; bit < 64; bit++)
		CHECK(write_cr4_safe(cr4 | BIT(bit)) == VECTOR_GP, "bit %u, of no feature: expected #GP, saw %d", bit, fault.vector);
	SKIP_QEMU("a MOV to CR4 that should fault is carried out, where the bit belongs to a feature");
	for (unsigned bit = 0; bit < 64; bit++) {
		if (bit == 5 || bit == 13 || bit == 12 || bit == 20 || bit == 21 || bit == 23 || (cr4 & BIT(bit)))
			continue; /* judged below, or not to be set with this mapping */
		write_cr4_safe(cr4 | BIT(bit));
		if (allowed & BIT(bit)) {
			CHECK(fault.vector == NO_FAULT, "bit %u, offered by CPUID, raises %d", bit, fault.vector);
			CHECK(read_cr4() == (cr4 | BIT(bit)), "bit %u did not stick: CR4 %llx", bit, (unsigned long long)read_cr4());
			write_cr4(cr4);
		} else if (under_lamina() || bit > 25 || (refused_natively & BIT(bit))) {
			CHECK(fault.vector == VECTOR_GP, "bit %u, not offered by CPUID: expected #GP, saw %d", bit, fault.vector);
		} else {
			write_cr4(cr4);
		}
	}
	CHECK(write_cr4_safe(cr4 & ~CR4_PAE) == VECTOR_GP, "clearing PAE in long mode: expected #GP, saw %d", fault.vector);
	CHECK(write_cr4_safe(cr4 ^ BIT(12)) == VECTOR_GP, "changing LA57 in long mode: expected #GP, saw %d", fault.vector);
	if (under_lamina())
		CHECK(write_cr4_safe(cr4 | CR4_VMXE) == VECTOR_GP, "VMXE, not offered: expected #GP, saw %d", fault.vector);
	CHECK_EQUAL("CR4 at the end", read_cr4(), cr4);
}

static uint8_t page[4096] __attribute__((aligned(4096)));

TEST(cr4_pcid, "CR4: PCIDs")
{
	uint64_t cr3 = read_cr3(), cr4 = read_cr4();

	if (!(cpuid(1, 0).ecx & BIT(17)))
		SKIP("no PCID");
	write_cr3(cr3 | 0x8);
	CHECK(write_cr4_safe(cr4 | CR4_PCIDE) == VECTOR_GP, "PCIDE with CR3[11:0] not 0: expected #GP, saw %d", fault.vector);
	write_cr3(cr3);
	CHECK(write_cr4_safe(cr4 | CR4_PCIDE) == NO_FAULT, "PCIDE raises %d", fault.vector);
	CHECK(write_cr3_safe(cr3 | 0x123 | BIT(63)) == NO_FAULT, "a no-flush CR3 load raises %d", fault.vector);
	CHECK_EQUAL("CR3 with a PCID", read_cr3(), cr3 | 0x123);
	window_map(0, page, PTE_P | PTE_W);
	*(volatile uint8_t *)window_page(0) = 1;
	write_cr3(cr3);
	write_cr4(cr4);
	window_map(0, page, 0);
}

TEST(cr4_pge, "CR4: global pages are flushed by a change of PGE")
{
	static uint8_t other[4096] __attribute__((aligned(4096)));
	uint64_t cr4 = read_cr4();
	volatile uint8_t *at = window_page(0);

	page[0] = 1;
	other[0] = 2;
	write_cr4(cr4 | CR4_PGE);
	window_map(0, page, PTE_P | PTE_W | PTE_G);
	CHECK_EQUAL("the first page", *at, 1);
	window_table[0] = (uint64_t)other | PTE_P | PTE_W | PTE_G;
	write_cr4(cr4 & ~CR4_PGE);
	CHECK_EQUAL("the second page", *at, 2);
	window_table[0] = (uint64_t)page | PTE_P | PTE_W;
	write_cr3(read_cr3());
	CHECK_EQUAL("the first page after a CR3 load", *at, 1);
	window_table[0] = (uint64_t)other | PTE_P | PTE_W;
	invlpg((const void *)at);
	CHECK_EQUAL("the second page after INVLPG", *at, 2);
	window_map(0, page, 0);
	write_cr4(cr4);
}

TEST(cr4_tsd, "CR4: TSD makes RDTSC of user mode a #GP")
{
	static uint8_t code[] = { 0x0f, 0x31, 0xcd, 0x80 }; /* rdtsc; int 0x80 */
	uint64_t cr4 = read_cr4();

	run_user64(code, 0);
	CHECK_FAULT("RDTSC in user mode", VECTOR_USER_END, 0);
	write_cr4(cr4 | CR4_TSD);
	run_user64(code, 0);
	write_cr4(cr4);
	CHECK_FAULT("RDTSC in user mode under TSD", VECTOR_GP, 0);
}

TEST(cr8, "CR8: values 0 to 15, the TPR follows")
{
	volatile uint32_t *tpr = (volatile uint32_t *)0xfee00080;

	for (uint64_t i = 0; i < 16; i++) {
		write_cr8(i);
		CHECK_EQUAL("CR8", read_cr8(), i);
		CHECK_EQUAL("TPR after CR8", *tpr & 0xff, i << 4);
	}
	for (uint32_t i = 0; i < 256; i += 0x33) {
		*tpr = i;
		CHECK_EQUAL("CR8 after TPR", read_cr8(), i >> 4);
		CHECK_EQUAL("TPR", *tpr & 0xff, i);
	}
	SKIP_QEMU("CR8's reserved bits are ignored");
	TRY("movq %0, %%cr8", : "r"(16ULL) : "memory");
	CHECK_FAULT("CR8 = 16", VECTOR_GP, 0);
	TRY("movq %0, %%cr8", : "r"(1ULL << 32) : "memory");
	CHECK_FAULT("CR8 = 2^32", VECTOR_GP, 0);
	write_cr8(0);
}

TEST(cr_unknown, "Control registers that do not exist are #UD")
{
	TRY("movq %%cr1, %%rax", : : "rax");
	CHECK_FAULT("CR1", VECTOR_UD, 0);
	TRY(".byte 0x0f, 0x20, 0xe8", : : "rax"); /* mov rax, cr5 */
	CHECK_FAULT("CR5", VECTOR_UD, 0);
	TRY(".byte 0x44, 0x0f, 0x20, 0xc8", : : "rax"); /* mov rax, cr9 */
	CHECK_FAULT("CR9", VECTOR_UD, 0);
}

TEST(dr, "Debug registers: values, reserved bits, DR4 and DR5")
{
	uint64_t cr4 = read_cr4();

	for (unsigned i = 0; i < 2; i++) {
		uint64_t value = i ? 0xffff812345678000 : 0x12345678;

		write_dr0(value);
		write_dr1(value + 1);
		write_dr2(value + 2);
		write_dr3(value + 3);
		CHECK_EQUAL("DR0", read_dr0(), value);
		CHECK_EQUAL("DR1", read_dr1(), value + 1);
		CHECK_EQUAL("DR2", read_dr2(), value + 2);
		CHECK_EQUAL("DR3", read_dr3(), value + 3);
	}
	TRY("movq %0, %%dr7", : "r"(BIT(32)) : "memory");
	CHECK_FAULT("DR7 bit 32", VECTOR_GP, 0);
	TRY("movq %0, %%dr6", : "r"(BIT(32)) : "memory");
	CHECK_FAULT("DR6 bit 32", VECTOR_GP, 0);
	write_dr7(0);
	CHECK_EQUAL("DR7", read_dr7(), 0x400);
	write_dr6(0);
	CHECK_EQUAL("DR6", read_dr6() & ~BIT(11) & ~BIT(16), 0xfffe0ff0 & ~BIT(11));
	write_cr4(cr4 | CR4_DE);
	TRY("movq %%dr4, %%rax", : : "rax");
	CHECK_FAULT("DR4 under CR4.DE", VECTOR_UD, 0);
	write_cr4(cr4 & ~CR4_DE);
	TRY("movq %%dr4, %%rax", : : "rax");
	CHECK_NO_FAULT("DR4 without CR4.DE");
	write_cr4(cr4);
}
