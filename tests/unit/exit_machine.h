/* A vCPU around the dispatcher of exits: its engine, and everything that handlers call, which records what was asked of it. */
#ifndef TESTS_UNIT_EXIT_MACHINE_H
#define TESTS_UNIT_EXIT_MACHINE_H

#include <setjmp.h>

#include "vmm/exits/handlers.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vm/vm_vcpu.h"

#define NONE (-1)

extern struct vm vm;
extern struct vcpu v;
extern uint64_t reg[VCPU_REGISTERS]; /* what the engine has */

/* What happened since the last leave(). */
extern struct exit_done {
	unsigned advances, advanced_by;
	unsigned injections;
	int vector;
	uint32_t error;
	bool has_error;
	unsigned dumps, may_enters;
	unsigned mmu_updates, mode_checks;
	int interrupt_window, nmi_window;
	unsigned nmis, machine_checks;
	unsigned taken;          /* core_take_interrupts() */
	int acknowledged;        /* core_interrupt() */
	uint64_t cr0, cr3, cr4;  /* set */
	uint64_t cr8, eoi, apic_write, xcr0;
	uint64_t port, port_value;
	unsigned port_size, reads_of_ports, strings;
	uint64_t operand;
	unsigned operand_size, operands;
} done;

/* What the next one meets. */
extern struct exit_next {
	bool refuse_cr0, refuse_cr3, refuse_cr4, refuse_msr, no_operand;
	unsigned verdict; /* of handlers elsewhere */
	bool may_enter, yield;
	uint64_t operand;
	bool compatibility;
	uint64_t cr0, cr4; /* of the context */
	unsigned cpl;
} next;

/* Where core_machine_check() goes, which does not return. */
extern jmp_buf end_of_machine;

int exit_setup(void **state);
/* An exit of this kind; the rest of v.exit is the test's. Returns whether the guest is entered again at once. */
bool leave(enum vm_exit_kind kind);
/* What came of it: RIP moves over the instruction, by the dispatcher, once, and nothing else happens to the vCPU; */
void advanced(void);
/* or the guest goes on where it is; */
void stayed(void);
/* or with an exception; */
void injected(uint8_t vector, bool has_error, uint32_t error);
/* or not at all. */
void stopped(const char *why);

#endif
