/* The policy by which a VM's disk changes between its two ways of working: by interrupts, where the disk announces what has ended and the
 * guest announces new requests, or by polling, where a timer looks at disk and guest and neither announces anything. A busy disk is worth
 * polling: one look finds many requests.
 *
 * The policy only counts and decides. It touches no disk, sets no timer and takes no lock: its caller is one core at a time. */
#ifndef VMM_IO_VM_DISK_POLLING_H
#define VMM_IO_VM_DISK_POLLING_H

#include "lib/types.h"

/* Times are machine time, in ticks. Zeroed memory is a disk that works by interrupts. */
struct vm_disk_polling {
	bool on;                   /* the disk is polled */
	uint64_t look_period;      /* from one look to the next */
	uint64_t looked_at;        /* the last look's time; by interrupts: the beginning of the count below */
	unsigned ended_since_look; /* requests */
	unsigned idle_looks;       /* looks in a row that found too little */
	unsigned busy_looks;       /* looks since polling began that found enough */
	uint64_t break_length;     /* between the last end of polling and the next trial */
	uint64_t break_end;        /* polling is not tried before */
};

/* The disk works by interrupts, and `ended` more requests have ended. Returns whether polling may be cheaper now; vm_disk_polling_begin is
 * called then, unless the disk cannot do without its interrupts. */
bool vm_disk_polling_worth_trying(struct vm_disk_polling *polling, uint64_t now, unsigned ended);
/* Polling begins; the first look is due after look_period. */
void vm_disk_polling_begin(struct vm_disk_polling *polling);
/* A polled disk has been looked at: `in_flight` requests are under way still, and `guest_waits` says that the guest did nothing but wait.
 * Sets look_period. Returns whether to go on; if not, the caller ends polling (`on`). */
bool vm_disk_polling_looked(struct vm_disk_polling *polling, uint64_t now, unsigned in_flight, bool guest_waits);

#endif
