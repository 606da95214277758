/* The 8254 timer: channel 0 drives IRQ 0, channel 1 was memory refresh, channel 2 the speaker, with their gate and output in port 0x61. */
#ifndef VMM_DEVICES_PIT_H
#define VMM_DEVICES_PIT_H

#include "lib/spinlock.h"
#include "lib/types.h"
#include "lib/x86/pc.h"
#include "vmm/devices/tick_clock.h"
#include "vmm/interface/platform.h"
#include "vmm/io/io_space.h"


/* Times are ticks of PIT_HZ and may wrap: compare their signed difference. */
struct pit_channel {
	uint8_t mode;          /* 0..5 */
	uint8_t access;        /* RW field: 1 low byte, 2 high byte, 3 low then high */
	bool bcd;
	bool gate;
	bool loaded;           /* a whole count was written since the control word */
	bool running;
	uint32_t count;        /* N, 1..65536 */
	uint64_t start;        /* while running: when N was loaded */
	uint64_t elapsed;      /* while not running: ticks counted before the gate closed */
	uint32_t next_count;   /* written, but loaded only at `next_at` (modes 2, 3) or at the next trigger (1, 5); 0: none */
	uint64_t next_at;
	uint64_t next_start;   /* `start` from then on; before next_at where the new count begins with its low half */
	bool write_high;       /* access 3: the low byte was written */
	uint8_t write_low;
	bool read_high;        /* access 3: the low byte was read */
	uint8_t latched;       /* bytes of `latch` still to read */
	uint16_t latch;
	bool status_latched;
	uint8_t status;
};

struct pit {
	struct vm *vm;
	struct spinlock lock;
	struct tick_clock clock;
	struct pit_channel channel[3];
	uint8_t control_b;     /* port 0x61, the bits that can be written */
	bool irq_armed;
	uint64_t irq_at;       /* the next rising edge of channel 0's OUT */
	uint64_t irq_period;   /* modes 2 and 3 */
	struct vtimer timer;
};

/* Claim ports 0x40 to 0x43 and 0x61 and bring the power-on state: nothing counts. (Intel 8254 data sheet; port 0x61: 82371AB
 * (PIIX4) data sheet, "NMI Status and Control".) Returns 0 or io_space_add's error. */
int pit_init(struct pit *pit, struct vm *vm, struct io_space *pio);

/* Back to power-on, IRQ 0 low. */
void pit_reset(struct pit *pit);

#endif
