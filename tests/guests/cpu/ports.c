/* Port I/O as an exit sees it: widths, string forms, faults in the middle. */
#include "lib/string.h"
#include "tests/guests/lib/clock.h"
#include "tests/guests/lib/console.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"
#include "tests/guests/lib/window.h"

enum { UNCLAIMED = 0x2a0 };

TEST(port_unclaimed, "Ports: unclaimed ones read all ones in each width, writes are dropped")
{
	CHECK_EQUAL("IN AL", inb(UNCLAIMED), 0xff);
	CHECK_EQUAL("IN AX", inw(UNCLAIMED), 0xffff);
	CHECK_EQUAL("IN EAX", inl(UNCLAIMED), 0xffffffff);
	outb(UNCLAIMED, 0);
	outw(UNCLAIMED, 0);
	outl(UNCLAIMED, 0);
	CHECK_EQUAL("IN AL after OUT", inb(UNCLAIMED), 0xff);
	CHECK_EQUAL("IN EAX at an odd port", inl(UNCLAIMED + 1), 0xffffffff);
}

TEST(port_registers, "Ports: IN changes just the part of RAX that its width says")
{
	uint64_t rax;

	outb(UART_SCRATCH, 0x5a);
	rax = 0x1122334455667788;
	__asm__ volatile("inb %%dx, %%al" : "+a"(rax) : "d"(UART_SCRATCH));
	CHECK_EQUAL("RAX after IN AL", rax, 0x112233445566775a);
	rax = 0x1122334455667788;
	__asm__ volatile("inw %%dx, %%ax" : "+a"(rax) : "d"(UNCLAIMED));
	CHECK_EQUAL("RAX after IN AX", rax, 0x112233445566ffff);
	rax = 0x1122334455667788;
	__asm__ volatile("inl %%dx, %%eax" : "+a"(rax) : "d"(UNCLAIMED));
	CHECK_EQUAL("RAX after IN EAX", rax, 0xffffffff);
	/* The immediate form; DX is only 16 bits of RDX. */
	rax = 0x1122334455667788;
	__asm__ volatile("inb $0x21, %%al" : "+a"(rax));
	CHECK_EQUAL("RAX's upper part after IN AL, 0x21", rax >> 8, 0x11223344556677);
	rax = 0;
	__asm__ volatile("inb %%dx, %%al" : "+a"(rax) : "d"(0xffffffffffff0000ULL | UART_SCRATCH));
	CHECK_EQUAL("IN with RDX's upper bits set", rax, 0x5a);
}

TEST(port_wide, "Ports: wide accesses to byte-wide devices do no harm")
{
	uint8_t mask = inb(0x21);
	uint16_t value = inw(0x21);
	uint32_t wide;

	CHECK((value & 0xff) == mask || value == 0xffff, "IN AX, 0x21 gives %x while the mask is %x", value, mask);
	wide = inl(UART_LCR);
	(void)wide;
	outb(UART_SCRATCH, 0x77);
	CHECK_EQUAL("the scratch register", inb(UART_SCRATCH), 0x77);
	CHECK_EQUAL("the mask", inb(0x21), mask);
}

static uint8_t pages[2][4096] __attribute__((aligned(4096)));

TEST(port_outs, "Ports: OUTSB, REP OUTSB, directions and sizes")
{
	const char *source = "ABCDEFGH";
	uint64_t rsi = (uint64_t)source, rcx = 8;

	__asm__ volatile("outsb" : "+S"(rsi) : "d"(UART_SCRATCH) : "memory");
	CHECK_EQUAL("the scratch register after OUTSB", inb(UART_SCRATCH), 'A');
	CHECK_EQUAL("RSI after OUTSB", rsi, source + 1);
	rsi = (uint64_t)source;
	__asm__ volatile("rep outsb" : "+S"(rsi), "+c"(rcx) : "d"(UART_SCRATCH) : "memory");
	CHECK_EQUAL("the scratch register after REP OUTSB", inb(UART_SCRATCH), 'H');
	CHECK_EQUAL("RSI after REP OUTSB", rsi, source + 8);
	CHECK_EQUAL("RCX after REP OUTSB", rcx, 0);
	rsi = (uint64_t)source + 7;
	rcx = 7;
	__asm__ volatile("std; rep outsb; cld" : "+S"(rsi), "+c"(rcx) : "d"(UART_SCRATCH) : "memory");
	CHECK_EQUAL("the scratch register after a backward REP OUTSB", inb(UART_SCRATCH), 'B');
	CHECK_EQUAL("RSI after a backward REP OUTSB", rsi, source);
	rcx = 0;
	__asm__ volatile("rep outsb" : "+S"(rsi), "+c"(rcx) : "d"(UART_SCRATCH) : "memory");
	CHECK_EQUAL("the scratch register after REP OUTSB of nothing", inb(UART_SCRATCH), 'B');
	CHECK_EQUAL("RSI after REP OUTSB of nothing", rsi, source);
	/* A segment override, and 32-bit addresses. */
	wrmsr(MSR_FS_BASE, 0x100000000000ULL - 5);
	rsi = (uint64_t)source + 7 - (0x100000000000ULL - 5);
	__asm__ volatile("outsb %%fs:(%%rsi), %%dx" : "+S"(rsi) : "d"(UART_SCRATCH) : "memory");
	wrmsr(MSR_FS_BASE, 0);
	CHECK_EQUAL("the scratch register after OUTSB through FS", inb(UART_SCRATCH), 'H');
	rsi = (uint64_t)source | 0xabcd00000000;
	rcx = 0xabcd00000003;
	__asm__ volatile("addr32 rep outsb" : "+S"(rsi), "+c"(rcx) : "d"(UART_SCRATCH) : "memory");
	CHECK_EQUAL("the scratch register after OUTSB with 32-bit addresses", inb(UART_SCRATCH), 'C');
	CHECK_EQUAL("RSI with 32-bit addresses", rsi, (uint64_t)source + 3);
	CHECK_EQUAL("RCX with 32-bit addresses", rcx, 0);
}

TEST(port_ins, "Ports: REP INSB across pages, INSW, INSL")
{
	uint64_t rdi, rcx = 64;
	uint8_t *at = window_map(8, pages[0], PTE_P | PTE_W);

	/* Neighbours in the window that are not neighbours in memory, and the other way round. */
	window_map(8, pages[1], PTE_P | PTE_W);
	window_map(9, pages[0], PTE_P | PTE_W);
	memset(pages, 0, sizeof(pages));
	outb(UART_SCRATCH, 0xa5);
	rdi = (uint64_t)at + 4096 - 20;
	__asm__ volatile("rep insb" : "+D"(rdi), "+c"(rcx) : "d"(UART_SCRATCH) : "memory");
	CHECK_EQUAL("RDI after REP INSB", rdi, at + 4096 + 44);
	CHECK_EQUAL("RCX after REP INSB", rcx, 0);
	for (int i = -24; i < 48; i++) {
		uint8_t seen = *(volatile uint8_t *)(at + 4096 + i), expected = i >= -20 && i < 44 ? 0xa5 : 0;

		CHECK(seen == expected, "byte %d from the page's end: expected %x, saw %x", i, expected, seen);
	}
	memset(pages, 0, sizeof(pages));
	rdi = (uint64_t)at + 4093; /* one element across the end */
	rcx = 2;
	__asm__ volatile("rep insl" : "+D"(rdi), "+c"(rcx) : "d"(UNCLAIMED) : "memory");
	for (unsigned i = 0; i < 10; i++)
		CHECK_EQUAL("an INSL byte across pages", *(volatile uint8_t *)(at + 4092 + i), i >= 1 && i < 9 ? 0xff : 0);
	memset(pages, 0, sizeof(pages));
	rdi = (uint64_t)at + 6;
	rcx = 3;
	__asm__ volatile("std; rep insw; cld" : "+D"(rdi), "+c"(rcx) : "d"(UNCLAIMED) : "memory");
	CHECK_EQUAL("RDI after a backward REP INSW", rdi, at);
	CHECK_EQUAL("the words", *(volatile uint64_t *)at, 0xffffffffffff0000);
	window_map(8, pages, 0);
	window_map(9, pages, 0);
}

TEST(port_ins_fault, "Ports: REP INSB and OUTSB into a missing page fault where they stand")
{
	uint8_t *at = window_map(8, pages[0], PTE_P | PTE_W);
	uint64_t rdi = (uint64_t)at + 4090, rsi = rdi, rcx = 16;

	window_map(9, pages[1], 0);
	outb(UART_SCRATCH, 0x3c);
	TRY("rep insb", "+D"(rdi), "+c"(rcx) : "d"(UART_SCRATCH) : "memory");
	CHECK_FAULT("REP INSB", VECTOR_PF, 2);
	CHECK_EQUAL("CR2", fault.cr2, at + 4096);
	CHECK_EQUAL("RDI at the fault", fault.frame.rdi, at + 4096);
	CHECK_EQUAL("RCX at the fault", fault.frame.rcx, 10);
	CHECK_EQUAL("RIP's first byte", *(const uint8_t *)fault.frame.rip, 0xf3);
	CHECK_EQUAL("the last byte before", pages[0][4095], 0x3c);
	memset(pages[0] + 4090, 0x66, 6);
	rcx = 16;
	TRY("rep outsb", "+S"(rsi), "+c"(rcx) : "d"(UART_SCRATCH) : "memory");
	CHECK_FAULT("REP OUTSB", VECTOR_PF, 0);
	CHECK_EQUAL("CR2", fault.cr2, at + 4096);
	CHECK_EQUAL("RSI at the fault", fault.frame.rsi, at + 4096);
	CHECK_EQUAL("RCX at the fault", fault.frame.rcx, 10);
	CHECK_EQUAL("the scratch register", inb(UART_SCRATCH), 0x66);
	window_map(8, pages[0], PTE_P);
	rdi = (uint64_t)at;
	TRY("insb", "+D"(rdi) : "d"(UART_SCRATCH) : "memory");
	CHECK_FAULT("INSB into a read-only page", VECTOR_PF, 3);
	CHECK_EQUAL("RDI", fault.frame.rdi, at);
	rdi = 0x0000800000000000;
	TRY("insb", "+D"(rdi) : "d"(UART_SCRATCH) : "memory");
	CHECK_FAULT("INSB to a non-canonical address", VECTOR_GP, 0);
	rcx = 0;
	TRY("rep insb", "+D"(rdi), "+c"(rcx) : "d"(UART_SCRATCH) : "memory");
	CHECK_NO_FAULT("REP INSB of nothing to a non-canonical address");
	window_map(8, pages[0], 0);
}

TEST(port_loopback, "Ports: bytes through the UART's loopback")
{
	static const char text[] = "loop the loop";
	uint8_t seen[sizeof(text)] = { 0 };
	unsigned count = 0;

	console_drain();
	outb(UART_MCR, 0x10);
	outb(UART_FCR, 7);
	for (unsigned i = 0; i < sizeof(text); i++) {
		if (!WAIT_FOR(inb(UART_LSR) & 0x20, 10))
			break;
		outb(UART_DATA, (uint8_t)text[i]);
		while (count < sizeof(text) && WAIT_FOR(inb(UART_LSR) & 1, 1))
			seen[count++] = inb(UART_DATA);
	}
	/* Modem lines: DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD. */
	outb(UART_MCR, 0x10 | 0x5);
	count = count == sizeof(text) ? inb(UART_MSR) & 0xf0 : 0x100;
	console_init();
	CHECK(count != 0x100 && memcmp(seen, text, sizeof(text)) == 0, "sent \"%s\", received \"%s\"", text, (const char *)seen);
	CHECK_EQUAL("modem status for DTR and OUT1", count, 0x60);
}

TEST(port_uart_registers, "Ports: UART registers hold what they are written")
{
	uint8_t lcr;

	console_drain();
	for (unsigned value = 0; value < 256; value += 51) {
		outb(UART_SCRATCH, (uint8_t)value);
		CHECK_EQUAL("scratch", inb(UART_SCRATCH), value);
	}
	lcr = inb(UART_LCR);
	outb(UART_LCR, 0x83);
	outb(UART_DATA, 0x34);
	outb(UART_IER, 0x02);
	CHECK_EQUAL("divisor low", inb(UART_DATA), 0x34);
	CHECK_EQUAL("divisor high", inb(UART_IER), 0x02);
	outb(UART_DATA, 1);
	outb(UART_IER, 0);
	outb(UART_LCR, lcr);
	CHECK_EQUAL("interrupt enable, not changed through the divisor", inb(UART_IER), 0);
	CHECK_EQUAL("FIFO bits of IIR", inb(UART_IIR) & 0xc0, 0xc0);
}
