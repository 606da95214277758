/* What a device may ask of the VM that it sits in. The VM provides these; unit tests link fakes of them.
 *
 * Lock order: a device's own lock, then the VM's interrupt lock (taken inside vm_irq_set). Nothing else nests. */
#ifndef VMM_INTERFACE_PLATFORM_H
#define VMM_INTERFACE_PLATFORM_H

#include "lib/time.h"
#include "lib/types.h"

struct vm;

/* ---- Interrupts ---- */

/* Drive global system interrupt `gsi` (0..23) high or low; 0..15 also reach the 8259s (ISA IRQ n is GSI n, but IRQ 0 is GSI 2
 * on the I/O APIC, as the MADT says: callers use 0). Edge-triggered sources go false, then true, and
 * stay high: the 8259s forget an edge whose line falls before it is acknowledged. */
void vm_irq_set(struct vm *vm, unsigned gsi, bool level);

/* A message-signalled interrupt: a write of `data` to `address` (SDM vol. 3, "Message Signalled Interrupts"). */
void vm_msi_send(struct vm *vm, uint64_t address, uint32_t data);

/* An interrupt message on the way to local APICs (from an I/O APIC, an MSI or an ICR). */
struct apic_message {
	uint32_t destination;  /* xAPIC: 8 bits; x2APIC: 32 bits */
	uint8_t vector;
	uint8_t delivery_mode; /* 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 6 SIPI, 7 ExtINT */
	bool logical;          /* destination mode */
	bool level;            /* trigger mode: EOI goes back to the I/O APIC */
	bool assert;           /* level of the message; false only for INIT level de-assert */
};

/* Deliver a message to every local APIC that it names. May be called with the interrupt lock held. */
void vm_apic_message(struct vm *vm, const struct apic_message *msg);

/* The INTR output of the 8259 pair changed. Called with the interrupt lock held. */
void vm_pic_output(struct vm *vm, bool level);

/* The EOI of a level-triggered `vector` reached the I/O APICs (SDM vol. 3, "EOI Register"). Called on a vCPU's core, no lock held. */
void vm_ioapic_eoi(struct vm *vm, uint8_t vector);

/* What a local APIC tells its vCPU besides fixed interrupts. */
enum cpu_event {
	CPU_EVENT_NMI,
	CPU_EVENT_INIT,
	CPU_EVENT_SIPI,   /* `vector` is the start page's number */
	CPU_EVENT_EXTINT, /* take the vector from the 8259s */
};

/* Leave an event for vCPU `cpu` and wake it. Any core may call, also with the interrupt lock held. */
void vm_cpu_event(struct vm *vm, unsigned cpu, enum cpu_event event, uint8_t vector);

/* vCPU `cpu` has an interrupt to look at (lapic_sync): bring it out of the guest or out of HLT. Any core may call, likewise. */
void vm_cpu_kick(struct vm *vm, unsigned cpu);

/* ---- Memory ---- */

/* A device has written [p, p+len) of guest memory, `p` being what guest_ptr() gave: shadow page tables may be made from it. Any lock of
 * the device's may be held. */
void vm_memory_written(struct vm *vm, const void *p, uint64_t len);

/* ---- Time ---- */

/* A one-shot timer of a device or a vCPU. It fires on a core of the VM with no lock held; `fire` takes the device's lock and must
 * bear a late call after the timer was set anew or stopped (check the deadline again). */
struct vtimer {
	uint64_t deadline; /* ticks, or TIME_NEVER */
	void (*fire)(void *ctx);
	void *ctx;
	void *queue;       /* the VM's business */
	struct vtimer *next;
};

/* Prepare `t` on the VM's timer queue `cpu` (the vCPU on whose core it fires; devices say 0). */
void vtimer_init(struct vtimer *t, struct vm *vm, unsigned cpu, void (*fire)(void *ctx), void *ctx);
/* (Re)arm for an absolute time; TIME_NEVER stops it. May be called from `fire` and with the device's lock held. */
void vtimer_set(struct vtimer *t, uint64_t deadline);

/* ---- Activity ---- */

/* Does the guest do nothing but wait? None of its vCPUs executes instructions at the moment. */
bool vm_guest_waits(const struct vm *vm);

/* ---- Console ---- */

/* Offer one byte of the guest's serial output to the machine's console. Returns false where its buffer is full: try again later. */
bool vm_console_put(struct vm *vm, uint8_t byte);

/* ---- Lifetime ---- */

enum vm_request {
	VM_REQUEST_POWER_OFF,
	VM_REQUEST_RESET,
	VM_REQUEST_STOP, /* cannot go on: dump it */
};

/* Ask that the VM ends or starts over once the current exit is handled; `why` is a literal for the log, such as "port 0xcf9". */
void vm_request(struct vm *vm, enum vm_request what, const char *why);

#endif
