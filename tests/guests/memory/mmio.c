/* Memory-mapped registers through every form of instruction that a kernel uses on them: the I/O APIC's window (a redirection entry
 * that stays masked), the local APIC's page, and addresses that nothing claims. */
#include "lib/string.h"
#include "tests/guests/lib/apic.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"
#include "tests/guests/lib/window.h"

#define HOLE 0xd0000000ULL
#define SELECT 0xfec00000ULL
#define DATA 0xfec00010ULL
#define ENTRY 0x3e /* low half of pin 23 */

static void set_up(uint32_t value)
{
	apic_init(false);
	ioapic_write(ENTRY, value | (uint32_t)IOAPIC_MASKED);
}

/* One instruction on the register: its flags, and what the register holds then. */
#define OPERATE(initial, instructions, expected, ...) \
	do { \
		uint64_t flags_; \
		set_up(initial); \
		__asm__ volatile(instructions "\n\tpushfq\n\tpopq %0" : "=&r"(flags_) : "d"(DATA), ##__VA_ARGS__); \
		flags = flags_ & (RFLAGS_CF | RFLAGS_ZF | BIT(7)); \
		CHECK(ioapic_read(ENTRY) == (uint32_t)(expected), "%s on %x: expected %x, saw %x", instructions, \
		      (uint32_t)((initial) | IOAPIC_MASKED), (uint32_t)(expected), ioapic_read(ENTRY)); \
	} while (0)

#define M 0x10000U

TEST(mmio_mov, "MMIO: MOV in all address forms")
{
	uint64_t flags, value;

	OPERATE(0, "movl $0x10077, (%%rdx)", M | 0x77);
	OPERATE(0, "movl %%eax, (%%rdx)", M | 0x78, "a"(M | 0x78));
	OPERATE(0, "movl %%ebx, 0x0(,%%rcx,8)", M | 0x79, "b"(M | 0x79), "c"(DATA / 8));
	OPERATE(0, "movl %%ebx, -0x20(%%rdx,%%rcx,4)", M | 0x7a, "b"(M | 0x7a), "c"(8ULL));
	OPERATE(0, "movq %%rdx, %%r12\n\tmovl %%ebx, %%r9d\n\tmovl %%r9d, (%%r12)", M | 0x7b, "b"(M | 0x7b) : "r9", "r12", "memory");
	OPERATE(0, "movq %%rdx, %%r13\n\tmovl %%ebx, (%%r13)", M | 0x7c, "b"(M | 0x7c) : "r13", "memory");
	OPERATE(0, "addr32 movl %%ebx, 0x10000(%%ecx)", M | 0x7d, "b"(M | 0x7d), "c"((DATA - 0x10000) | 0xabcd00000000));
	wrmsr(MSR_FS_BASE, DATA - 0x1234);
	OPERATE(0, "movl %%ebx, %%fs:0x1234", M | 0x7e, "b"(M | 0x7e));
	wrmsr(MSR_FS_BASE, 0);
	/* moffs and the accumulator; 64-bit sign-extended address by MOV r64, imm64. */
	set_up(0x55);
	__asm__ volatile("movabsl 0xfec00010, %%eax" : "=a"(value) : : "memory");
	CHECK_EQUAL("MOV EAX, moffs", value, M | 0x55);
	value = 0xffffffffffffffff;
	__asm__ volatile("movl (%1), %k0" : "+r"(value) : "r"(DATA) : "memory");
	CHECK_EQUAL("MOV r32 clears the upper half", value, M | 0x55);
	(void)flags;
}

TEST(mmio_rip, "MMIO: RIP-relative, with and without an immediate")
{
	static const uint8_t code[] = {
		0x89, 0x3d, 0x0a, 0x10, 0x00, 0x00,                         /* mov [rip + 0x100a], edi: window page 1, offset 0x10 */
		0xc3,
		0xc7, 0x05, 0xff, 0x0f, 0x00, 0x00, 0x23, 0x00, 0x01, 0x00, /* mov dword [rip + 0xfff], 0x10023 */
		0xc3,
	};
	static uint8_t page[4096] __attribute__((aligned(4096)));
	uint8_t *at = window_map(0, page, PTE_P);

	memcpy(page, code, sizeof(code));
	window_map(1, (const void *)SELECT, PTE_P | PTE_W | PTE_PCD);
	set_up(0);
	((void (*)(uint32_t))at)(M | 0x22);
	CHECK_EQUAL("the register", ioapic_read(ENTRY), M | 0x22);
	((void (*)(void))(at + 7))();
	CHECK_EQUAL("the register after the immediate form", ioapic_read(ENTRY), M | 0x23);
	window_map(0, NULL, 0);
	window_map(1, NULL, 0);
}

TEST(mmio_alu, "MMIO: read-modify-write and its flags")
{
	uint64_t flags, value;

	OPERATE(0x41, "orl $0x02, (%%rdx)", M | 0x43);
	OPERATE(0x43, "andl $0xffffff0f, (%%rdx)", M | 0x03);
	OPERATE(0x0f, "xorl %%ecx, (%%rdx)", M | 0xf0, "c"(0xff));
	OPERATE(0x20, "addl $0x11, (%%rdx)", M | 0x31);
	OPERATE(0x31, "subl %%ecx, (%%rdx)", M | 0x30, "c"(1));
	OPERATE(0x50, "incl (%%rdx)", M | 0x51);
	OPERATE(0x51, "decl (%%rdx)", M | 0x50);
	OPERATE(0x50, "lock orl $8, (%%rdx)", M | 0x58);
	OPERATE(0x50, "lock btsl $2, (%%rdx)", M | 0x54);
	OPERATE(0x54, "btrl $2, (%%rdx)", M | 0x50);
	CHECK(flags & RFLAGS_CF, "BTR of a set bit: CF is clear");
	OPERATE(0x50, "testl $0x20, (%%rdx)", M | 0x50);
	CHECK(flags & RFLAGS_ZF, "TEST of a clear bit: ZF is clear");
	OPERATE(0x50, "testl $0x10, (%%rdx)", M | 0x50);
	CHECK(!(flags & RFLAGS_ZF), "TEST of a set bit: ZF is set");
	OPERATE(0x50, "testl %%ecx, (%%rdx)", M | 0x50, "c"(0xf));
	CHECK(flags & RFLAGS_ZF, "TEST with a register: ZF is clear");
	OPERATE(0x50, "cmpl $0x10050, (%%rdx)", M | 0x50);
	CHECK(flags & RFLAGS_ZF, "CMP of equal values: ZF is clear");
	OPERATE(0x50, "cmpl $0x10051, (%%rdx)", M | 0x50);
	CHECK((flags & RFLAGS_CF) && !(flags & RFLAGS_ZF), "CMP with a greater value: flags %llx", (unsigned long long)flags);
	OPERATE(0x50, "cmpl (%%rdx), %%ecx", M | 0x50, "c"(0x1004f));
	CHECK(flags & RFLAGS_CF, "CMP of a register with greater memory: CF is clear");
	OPERATE(0x50, "btl $4, (%%rdx)", M | 0x50);
	CHECK(flags & RFLAGS_CF, "BT of a set bit: CF is clear");
	OPERATE(0x50, "btl $5, (%%rdx)", M | 0x50);
	CHECK(!(flags & RFLAGS_CF), "BT of a clear bit: CF is set");
	set_up(0x61);
	value = M | 0x62;
	__asm__ volatile("xchgl %k0, (%1)" : "+r"(value) : "r"(DATA) : "memory");
	CHECK_EQUAL("what XCHG returned", value, M | 0x61);
	CHECK_EQUAL("the register after XCHG", ioapic_read(ENTRY), M | 0x62);
	value = 0x100000000 | 1;
	__asm__ volatile("orl (%1), %k0" : "+r"(value) : "r"(DATA) : "memory", "cc");
	CHECK_EQUAL("OR r32, memory", value, M | 0x63);
	value = 0xff;
	__asm__ volatile("andl (%1), %k0" : "+r"(value) : "r"(DATA) : "memory", "cc");
	CHECK_EQUAL("AND r32, memory", value, 0x62);
	value = 1;
	__asm__ volatile("addl (%1), %k0" : "+r"(value) : "r"(DATA) : "memory", "cc");
	CHECK_EQUAL("ADD r32, memory", value, M | 0x63);
}

TEST(mmio_string, "MMIO: STOS, MOVS, LODS on registers")
{
	uint32_t words[4] = { M | 0x31, M | 0x32, M | 0x33, M | 0x34 };
	uint64_t rdi = DATA, rsi = (uint64_t)words, rcx = 1, rax = M | 0x66;

	set_up(0);
	__asm__ volatile("stosl" : "+D"(rdi) : "a"(rax) : "memory");
	CHECK_EQUAL("the register after STOSL", ioapic_read(ENTRY), M | 0x66);
	CHECK_EQUAL("RDI after STOSL", rdi, DATA + 4);
	rdi = DATA;
	__asm__ volatile("rep movsl" : "+D"(rdi), "+S"(rsi), "+c"(rcx) : : "memory");
	CHECK_EQUAL("the register after REP MOVSL", ioapic_read(ENTRY), M | 0x31);
	CHECK_EQUAL("RSI after REP MOVSL", rsi, words + 1);
	rsi = DATA;
	rdi = (uint64_t)&words[3];
	__asm__ volatile("movsl" : "+D"(rdi), "+S"(rsi) : : "memory");
	CHECK_EQUAL("the word that MOVSL read", words[3], M | 0x31);
	rsi = DATA;
	__asm__ volatile("lodsl" : "+S"(rsi), "=a"(rax) : : "memory");
	CHECK_EQUAL("EAX after LODSL", rax & 0xffffffff, M | 0x31);
	/* Many elements, into a hole and out of it, backward too. */
	rdi = HOLE;
	rcx = 64;
	__asm__ volatile("rep stosq" : "+D"(rdi), "+c"(rcx) : "a"(0ULL) : "memory");
	CHECK_EQUAL("RDI after REP STOSQ", rdi, HOLE + 512);
	CHECK_EQUAL("RCX after REP STOSQ", rcx, 0);
	memset(words, 0, sizeof(words));
	rsi = HOLE + 15;
	rdi = (uint64_t)words + 15;
	rcx = 16;
	__asm__ volatile("std; rep movsb; cld" : "+D"(rdi), "+S"(rsi), "+c"(rcx) : : "memory");
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQUAL("a word out of the hole", words[i], 0xffffffff);
	CHECK_EQUAL("RSI after a backward REP MOVSB", rsi, HOLE - 1);
	rcx = 0;
	rdi = SELECT;
	__asm__ volatile("rep stosl" : "+D"(rdi), "+c"(rcx) : "a"(0) : "memory");
	CHECK_EQUAL("RDI after REP STOSL of nothing", rdi, SELECT);
}

TEST(mmio_sizes, "MMIO: all operand sizes on addresses that nothing claims")
{
	uint64_t value;

#define READ(instruction, initial, expected) \
	do { \
		value = (initial); \
		__asm__ volatile(instruction : "+a"(value) : "d"(HOLE) : "memory", "cc"); \
		CHECK_EQUAL(instruction, value, expected); \
	} while (0)
	READ("movb (%%rdx), %%al", 0x1122334455667700, 0x11223344556677ff);
	READ("movb 3(%%rdx), %%ah", 0x1122334455660077, 0x112233445566ff77);
	READ("movw 1(%%rdx), %%ax", 0x1122334455660000, 0x112233445566ffff);
	READ("movl 2(%%rdx), %%eax", 0x1122334400000000, 0xffffffff);
	READ("movq 5(%%rdx), %%rax", 0, 0xffffffffffffffff);
	READ("movzbl (%%rdx), %%eax", ~0ULL, 0xff);
	READ("movzbq (%%rdx), %%rax", ~0ULL, 0xff);
	READ("movzbw (%%rdx), %%ax", 0x1122334455667788, 0x11223344556600ff);
	READ("movzwl (%%rdx), %%eax", ~0ULL, 0xffff);
	READ("movsbl (%%rdx), %%eax", 0, 0xffffffff);
	READ("movsbq (%%rdx), %%rax", 0, 0xffffffffffffffff);
	READ("movswl (%%rdx), %%eax", 0, 0xffffffff);
	READ("movslq (%%rdx), %%rax", 0, 0xffffffffffffffff);
	READ("movq 0xffc(%%rdx), %%rax", 0, 0xffffffffffffffff); /* across a page's end */
	READ("andb (%%rdx), %%al", 0x5a, 0x5a);
	READ("orw (%%rdx), %%ax", 0x5a0000, 0x5affff);
	READ("xorq (%%rdx), %%rax", 0xff, ~0xffULL);
	READ("cmpb $0xff, (%%rdx)\n\tsete %%al", 0, 1);
	READ("testq $-1, (%%rdx)\n\tsetne %%al", 0, 1);
#undef READ
	__asm__ volatile("movb %%al, (%0)\n\tmovw %%ax, 1(%0)\n\tmovl %%eax, 2(%0)\n\tmovq %%rax, 3(%0)\n\tmovb $1, (%0)\n\t"
			 "movw $1, (%0)\n\tmovl $1, (%0)\n\tmovq $1, (%0)\n\tmovb %%ah, (%0)\n\tmovb %%sil, (%0)" : : "d"(HOLE), "a"(0) : "memory");
	CHECK_EQUAL("the hole after writes", *(volatile uint64_t *)HOLE, ~0ULL);
}

TEST(mmio_apic, "MMIO: the local APIC's page, and its reserved registers")
{
	volatile uint32_t *apic = (volatile uint32_t *)0xfee00000;
	uint32_t version;

	apic_init(false);
	version = apic[0x30 / 4];
	CHECK((version & 0xff) >= 0x10, "version %x", version);
	apic[0x30 / 4] = 0;
	CHECK_EQUAL("the version after a write", apic[0x30 / 4], version);
	apic[0x80 / 4] = 0x20;
	__asm__ volatile("orl $0x10, (%0)" : : "r"(0xfee00080ULL) : "memory", "cc");
	CHECK_EQUAL("TPR after OR", apic[0x80 / 4] & 0xff, 0x30);
	__asm__ volatile("movl $0, (%0)" : : "r"(0xfee00080ULL) : "memory");
	CHECK_EQUAL("CR8", read_cr8(), 0);
	/* Reserved offsets: reads and writes do no harm. */
	if (under_lamina()) {
		(void)apic[0x40 / 4];
		(void)apic[0x3f0 / 4];
		(void)*(volatile uint8_t *)0xfee00030;
		(void)*(volatile uint64_t *)0xfee00038;
		apic[0x40 / 4] = 1;
		(void)*(volatile uint32_t *)0xfee00ffe;
	}
	CHECK_EQUAL("the version", apic[0x30 / 4], version);
}

TEST(mmio_paged, "MMIO: through another mapping, and with its page not writable")
{
	uint8_t *at = window_map(0, (const void *)SELECT, PTE_P | PTE_W | PTE_PCD);
	uint32_t value = 1;

	set_up(0x44);
	*(volatile uint32_t *)at = ENTRY;
	CHECK_EQUAL("the entry through the window", *(volatile uint32_t *)(at + 0x10), M | 0x44);
	window_map(0, (const void *)SELECT, PTE_P | PTE_PCD);
	TRY("movl %1, (%0)", : "r"(at + 0x10), "r"(value) : "memory");
	CHECK_FAULT("a write to a read-only mapping of the I/O APIC", VECTOR_PF, 3);
	TRY("orl %1, (%0)", : "r"(at + 0x10), "r"(value) : "memory");
	CHECK_FAULT("a read-modify-write of it", VECTOR_PF, 3);
	CHECK_EQUAL("CR2", fault.cr2, at + 0x10);
	CHECK_EQUAL("the entry afterwards", ioapic_read(ENTRY), M | 0x44);
	window_map(0, NULL, 0);
}
