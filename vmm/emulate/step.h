/* Whole-instruction emulation: real mode, big real mode, virtual-8086 mode, 16- and 32-bit protected mode, for CPUs that cannot run
 * them (without EPT there is no unrestricted guest), and as much of 64-bit mode as needs nothing of its own. */
#ifndef VMM_EMULATE_STEP_H
#define VMM_EMULATE_STEP_H

#include "vmm/emulate/emulate.h"

struct step_table {
	uint64_t base;
	uint16_t limit;
};

/* step_state.changed */
enum {
	/* bits 0..7: segment registers, by enum segment_register; their contents are in the emulator's `seg` */
	STEP_CHANGED_GDTR = 1 << 8,
	STEP_CHANGED_IDTR = 1 << 9,
	STEP_CHANGED_CONTROL = 1 << 10, /* CR0, CR3, CR4 or EFER: in the emulator's `paging` */
	STEP_CHANGED_CR2 = 1 << 11,
};

/* step_state.shadow: no interrupt may be taken before the next instruction */
enum { STEP_SHADOW_STI = 1 << 0, STEP_SHADOW_MOV_SS = 1 << 1 };

/* What emulate_step() keeps besides struct emulator's registers and paging. Fill all of it, and the emulator's, before the first
 * step; as long as steps follow on each other everything stays here, `segments` of the emulator included. At the end `changed`
 * says what to write back besides rip, rflags and general registers. `mode` and `paging.cpl` follow CS, SS and CR0 by themselves. */
struct step_state {
	struct step_table gdtr, idtr;
	uint64_t cr2;
	uint32_t changed; /* bits are only ever set here */
	uint8_t shadow;   /* in and out */

	/* All callbacks get the emulator's ctx. A callback that returns int returns 0, or the vector to raise: VECTOR_GP (error code 0),
	 * VECTOR_UD ...
	 *
	 * MOV to CR0, CR3, CR4 or CR8 that breaks no rule which the emulator knows: the combinations of PE, PG, NW, CD, PAE, LME, LA57.
	 * The callee refuses reserved bits; the emulator then takes the value over, with the PDPTEs and EFER.LMA that follow. */
	int (*write_cr)(void *ctx, unsigned cr, uint64_t value);
	uint64_t (*read_cr8)(void *ctx);
	/* Debug registers 0..3, 6, 7; of DR6 also BS, when a single-step trap is delivered. */
	uint64_t (*read_dr)(void *ctx, unsigned dr);
	int (*write_dr)(void *ctx, unsigned dr, uint64_t value);
	/* EFER, FS and GS base are kept here too and read from here; IA32_TIME_STAMP_COUNTER and IA32_TSC_AUX serve RDTSC and RDTSCP. */
	int (*read_msr)(void *ctx, uint32_t msr, uint64_t *value);
	int (*write_msr)(void *ctx, uint32_t msr, uint64_t value);
	void (*cpuid)(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4]); /* eax, ebx, ecx, edx */
	void (*invlpg)(void *ctx, uint64_t linear);
	void (*write_back_caches)(void *ctx); /* WBINVD, INVD */
	/* What little is emulated of the FPU. */
	void (*fpu_init)(void *ctx);
	uint16_t (*fpu_status)(void *ctx);
	uint16_t (*fpu_control)(void *ctx);
};

/* Fetch and execute the instruction at CS:RIP. Exceptions, software interrupts and single-step traps are delivered here, through the
 * IVT or the IDT's interrupt and trap gates, except in long mode. Returns an enum emulate_verdict:
 * EMULATE_DONE: executed, or an exception delivered (the result says which); rip is where to go on.
 * EMULATE_RETRY: step again; a repeated instruction has done EMULATE_STRING_MAX or EMULATE_IO_MAX elements.
 * EMULATE_EXCEPTION: in long mode (EFER.LMA) only: inject it.
 * EMULATE_UNSUPPORTED: nothing happened: an instruction that is not emulated, code outside RAM, task switches; or, of an exception or
 * trap that led to a task gate, nothing but the part of the instruction before it.
 * Not modelled: alignment checks, breakpoints in DR0..DR3, virtual-8086 mode extensions, NMI blocking (`iret` in the result helps). LOCK
 * and XCHG are atomic for the guest's other CPUs unless they cross a boundary of their own size.
 * EMULATE_SHUTDOWN: a triple fault. */
int emulate_step(struct emulator *e, struct emulate_result *r);

/* Deliver interrupt or exception `vector` before the next instruction. `external`: an interrupt, NMI or anything else that no
 * instruction caused; that RFLAGS.IF and the shadow allow it is the caller's business. error_code below 0: none is pushed. Not in
 * long mode (EMULATE_UNSUPPORTED). Returns EMULATE_DONE, EMULATE_UNSUPPORTED (a task gate) or EMULATE_SHUTDOWN. */
int emulate_interrupt(struct emulator *e, uint8_t vector, bool external, int64_t error_code, struct emulate_result *r);

/* Could VT-x run the guest from here without unrestricted guest? That is protected mode with segments that pass VM entry's checks
 * (SDM vol. 3, "Checks on Guest Segment Registers"), or virtual-8086 mode with segments as they are made there. CR0.PG is left out:
 * without paging the monitor can provide identity tables. */
bool emulate_enterable(struct emulator *e);

/* The mode that CS, CR0, EFER and RFLAGS give; sets e->mode, paging.cpl and paging.rflags_ac. emulate_step() does this itself. */
void emulate_derive_mode(struct emulator *e);

#endif
