/* The interrupt descriptor table: exceptions end in a dump, interrupts in their handler. */
#ifndef ARCH_X86_64_TRAPS_H
#define ARCH_X86_64_TRAPS_H

#include "lib/types.h"

#define VECTOR_FIRST_IRQ 0x20
#define VECTOR_SERIAL 0x30
#define VECTOR_FIRST_DEVICE 0x40 /* and the next VECTOR_DEVICES - 1: host_devices.h */
#define VECTOR_DEVICES 32
#define VECTOR_TIMER 0xe0
#define VECTOR_KICK 0xf0
#define VECTOR_HALT 0xf1
#define VECTOR_SPURIOUS 0xff

/* What trap_entry.asm pushes: the order is the stack's. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* Fill the IDT, once. */
void traps_init(void);
/* Load it on this core. */
void traps_load(void);
/* Called by trap_entry.asm for every vector. */
void trap_handle(struct trap_frame *frame);
/* An interrupt reached this core, through the IDT or by a VM exit that acknowledged it. */
void irq_handle(uint8_t vector);
/* A non-maskable interrupt reached this core, through the IDT or by a VM exit. */
void nmi_handle(void);
/* A machine check reached this core: report the banks and end everything. */
NORETURN void machine_check(void);
/* Expect the instruction at `fault` to raise an exception, once; then go on at `resume`. NULL: expect none. */
void trap_expect(const void *fault, const void *resume);

/* Print `rip`, unless it is 0, and the calls that the frames from `rbp` on return to, with the names of their functions. */
void backtrace(uint64_t rip, uint64_t rbp);
/* The function that holds `address` and the offset in it. Returns "?" where none does. */
const char *symbol_name(uint64_t address, uint64_t *offset);

#endif
