/* A vCPU's local APIC (SDM vol. 3, chapter "Advanced Programmable Interrupt Controller").
 *
 * Its registers live in a page given by the caller, in the architectural layout, because hardware APIC virtualization works on
 * that very page. One core owns a lapic: the core of its vCPU. All functions are the owner's alone, while the guest is out, except
 * lapic_accept, lapic_route and lapic_local_error, which any core may call at any time: they only touch the atomic `posted` sets.
 * The owner merges those with lapic_sync before it enters the guest and before it lets a halted vCPU sleep.
 *
 * With `hw_delivery` the CPU delivers interrupts and handles EOI itself (virtual-interrupt delivery). The caller then gives it
 * lapic_highest_irr() as RVI and lapic_highest_isr() as SVI whenever lapic_sync() returned true or it called lapic_acknowledge(), and
 * eoi_exit[] when it is dirty. */
#ifndef VMM_DEVICES_LAPIC_H
#define VMM_DEVICES_LAPIC_H

#include "lib/types.h"
#include "lib/x86/apic.h"
#include "vmm/interface/platform.h"

#ifndef VM_MAX_VCPUS
#define VM_MAX_VCPUS 64
#endif


/* IA32_APIC_BASE (MSR 0x1b). */


struct lapic;

/* All local APICs of a VM, in order of vCPU: whom an IPI can reach. Filled while the VM is built. */
struct lapic_bus {
	unsigned count;
	struct lapic *lapic[VM_MAX_VCPUS];
};

struct lapic_timer {
	struct vtimer vtimer;
	uint64_t deadline;     /* host ticks; meaningful while running */
	uint64_t period;       /* host ticks of the whole initial count */
	uint64_t min_period;   /* host ticks: a periodic timer interrupts no more often */
	uint64_t tsc_deadline; /* IA32_TSC_DEADLINE as written, 0 once it fired */
	uint32_t lvt;          /* the LVT entry in force; the page may hold a newer one for a moment */
	uint8_t input_shift;   /* the timer's clock is the TSC's shifted right by this: 0 below 2^32 Hz (cpuid_crystal_shift) */
	uint8_t shift;         /* input_shift plus log2 of the divide configuration */
	bool running;
};

struct lapic {
	uint8_t *page;
	uint32_t posted_any;    /* atomic: lapic_sync has something to do */
	uint8_t irr_summary;    /* bit n: word n of the IRR may hold a bit; all ones with hw_delivery */
	uint8_t isr_summary;
	bool hw_delivery;
	bool enabled;           /* IA32_APIC_BASE.EN */
	bool x2apic;            /* IA32_APIC_BASE.EXTD */
	bool software_enabled;  /* enabled, and SVR bit 8: fixed interrupts are accepted */
	bool eoi_exit_dirty;    /* eoi_exit changed; the engine clears this */
	/* Set these between lapic_init and lapic_reset. */
	bool x2apic_allowed;
	bool tsc_deadline_allowed;
	bool eoi_suppression_allowed; /* SVR bit 12; wants I/O APICs with an EOI register */
	uint64_t eoi_exit[4];   /* vectors whose EOI must exit: the TMR */
	uint64_t posted[4];     /* atomic: vectors that arrived */
	uint64_t posted_level[4]; /* atomic: 1 where the vector last arrived level-triggered */
	uint32_t errors;        /* atomic: errors since the guest last wrote the ESR */
	uint32_t apic_id;
	uint64_t base;          /* IA32_APIC_BASE */
	int64_t tsc_offset;     /* guest TSC = time_now() + tsc_offset; set by lapic_set_tsc_offset */
	struct vm *vm;
	unsigned cpu_index;
	struct lapic_bus *bus;
	struct lapic_timer timer;
};

/* ---- Life ---- */

/* Prepare the APIC of vCPU `cpu_index` on a 4 KiB-aligned page that outlives it. Everything optional is allowed. Call lapic_reset next. */
void lapic_init(struct lapic *l, struct vm *vm, unsigned cpu_index, uint32_t apic_id, void *page, bool hw_delivery);
/* Register it where the VM's IPIs find it. Returns 0, or ERR_NOMEM with VM_MAX_VCPUS there. */
int lapic_bus_add(struct lapic_bus *bus, struct lapic *l);
/* Power-up state: xAPIC mode, software-disabled (SDM vol. 3, "Local APIC State After Power-Up or Reset"). */
void lapic_reset(struct lapic *l, bool bsp);
/* State after INIT: registers as at power-up, mode and ID kept (SDM vol. 3, "Local APIC State After It Receives an INIT"). */
void lapic_init_reset(struct lapic *l);
/* What PC firmware leaves on the boot processor: enabled, LINT0 takes the 8259s (ExtINT), LINT1 is NMI
 * (MultiProcessor Specification 1.4, section 3.6.2.2, virtual wire mode). Call after lapic_reset. */
void lapic_virtual_wire(struct lapic *l);

/* ---- What the guest does ---- */

/* IA32_APIC_BASE. A write makes the legal mode changes (SDM vol. 3, "x2APIC State Transitions"); it returns 0, or ERR_INVALID (the caller
 * injects #GP) for an illegal change, a reserved bit, or an address other than LAPIC_BASE. */
uint64_t lapic_base_msr(const struct lapic *l);
int lapic_set_base(struct lapic *l, uint64_t value);

/* An access at LAPIC_BASE + offset, offset + size at most 4096, in xAPIC mode; in other modes nothing answers there. Reads within a
 * register's 32 bits work; writes must be the 32-bit ones at 16-byte boundaries that the SDM demands. Others are dropped. */
uint64_t lapic_mmio_read(struct lapic *l, unsigned offset, unsigned size);
void lapic_mmio_write(struct lapic *l, unsigned offset, unsigned size, uint64_t value);

/* MSRs 0x800..0x8ff. Return 0, or ERR_INVALID (the caller injects #GP): not in x2APIC mode, no such register, read-only, write-only, reserved
 * bits (SDM vol. 3, "x2APIC Register Address Space"). */
int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value);
int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value);

/* IA32_TSC_DEADLINE (MSR 0x6e0), in guest TSC ticks. Reads 0 and ignores writes where the timer is in another mode. */
uint64_t lapic_deadline_read(struct lapic *l);
void lapic_deadline_write(struct lapic *l, uint64_t value);

/* CR8 is TPR[7:4] (SDM vol. 3, "Task Priority in IA-32e Mode"). The caller has checked that a written value is at most 15. */
uint64_t lapic_cr8(const struct lapic *l);
void lapic_set_cr8(struct lapic *l, uint64_t value);

/* The CPU has stored the guest's write in the page already (trap-like APIC-write exit): act on the register at `offset`. */
void lapic_write_done(struct lapic *l, unsigned offset);

/* Guest EOI without hardware help. */
void lapic_eoi(struct lapic *l);
/* The CPU did this vector's EOI and exited because eoi_exit[] has it. */
void lapic_eoi_vector(struct lapic *l, uint8_t vector);

/* ---- Interrupts ---- */

/* An interrupt arrives. Any core, any time; kicks the vCPU. Below vector 16 it sets the ESR's "received illegal vector"; a
 * software-disabled APIC drops it. */
void lapic_accept(struct lapic *l, uint8_t vector, bool level);
/* An edge on pin LINT0 or LINT1 (`pin` 0 or 1) as its LVT entry says: fixed interrupt or NMI. ExtINT is lapic_accepts_pic's. Owner only. */
void lapic_lint(struct lapic *l, unsigned pin);
/* Log an error bit of the ESR and raise the LVT error interrupt, once until the guest writes the ESR. Any core, any time. */
void lapic_local_error(struct lapic *l, uint32_t bit);

bool lapic_sync_slow(struct lapic *l);
int lapic_pending_slow(const struct lapic *l);

/* Merge the posted interrupts into IRR and TMR. Returns whether there were any, or whether the owner changed IRR or ISR in the page itself
 * (with hw_delivery: load RVI and SVI anew). Before each VM entry. */
static inline bool lapic_sync(struct lapic *l)
{
	return __builtin_expect(__atomic_load_n(&l->posted_any, __ATOMIC_RELAXED) != 0, 0) && lapic_sync_slow(l);
}

/* The vector that the CPU would take now: the highest in the IRR if its class is above the processor priority, else -1. */
static inline int lapic_pending(const struct lapic *l)
{
	return l->irr_summary ? lapic_pending_slow(l) : -1;
}

/* The CPU takes `vector`: it moves from IRR to ISR. */
void lapic_acknowledge(struct lapic *l, uint8_t vector);

/* Highest bit of IRR and ISR, or -1. */
int lapic_highest_irr(const struct lapic *l);
int lapic_highest_isr(const struct lapic *l);
/* TPR threshold for a CPU with a TPR shadow only: the class of the highest request that the TPR holds back, else 0. */
unsigned lapic_tpr_threshold(const struct lapic *l);

static inline bool lapic_software_enabled(const struct lapic *l)
{
	return l->software_enabled;
}

/* Does the 8259s' INTR reach this CPU: LINT0 unmasked in ExtINT mode, or the APIC disabled by its base MSR. */
bool lapic_accepts_pic(const struct lapic *l);

/* ---- Messages ---- */

/* Deliver `msg` to each of `lapics` that it names. `sender` is the local APIC whose ICR sent it, whose core is the caller's; or NULL for an
 * I/O APIC or MSI. A lowest-priority message goes to the local APIC with the lowest TPR, the first of equals. (SDM vol. 3, "Determining IPI
 * Destination".) */
void lapic_route(struct lapic *const *lapics, unsigned count, const struct apic_message *msg, const struct lapic *sender);

/* ---- Timer ---- */

/* The guest's TSC moved against the host's: an armed TSC deadline moves with it. */
void lapic_set_tsc_offset(struct lapic *l, int64_t offset);
/* Put the timer's current count into the page, where hardware reads it (offset 0x390). */
void lapic_refresh_count(struct lapic *l);

#endif
