/* A small driver for a modern virtio-blk device on PCI (virtio 1.2, sections 2.7, 4.1 and 5.2), one that may also break every rule. */
#ifndef TESTS_GUESTS_DISK_VIRTIO_H
#define TESTS_GUESTS_DISK_VIRTIO_H

#include "tests/guests/lib/test.h"

enum {
	STATUS_ACKNOWLEDGE = 1, STATUS_DRIVER = 2, STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8, STATUS_NEEDS_RESET = 0x40, STATUS_FAILED = 0x80,
};

/* Offsets in the common configuration (section 4.1.4.3). */
enum {
	COMMON_DEVICE_FEATURE_SELECT = 0, COMMON_DEVICE_FEATURE = 4, COMMON_DRIVER_FEATURE_SELECT = 8, COMMON_DRIVER_FEATURE = 12,
	COMMON_CONFIG_VECTOR = 16, COMMON_NUM_QUEUES = 18, COMMON_STATUS = 20, COMMON_GENERATION = 21, COMMON_QUEUE_SELECT = 22,
	COMMON_QUEUE_SIZE = 24, COMMON_QUEUE_VECTOR = 26, COMMON_QUEUE_ENABLE = 28, COMMON_QUEUE_NOTIFY_OFF = 30, COMMON_QUEUE_DESC = 32,
	COMMON_QUEUE_DRIVER = 40, COMMON_QUEUE_DEVICE = 48,
};

#define F_BLK_FLUSH BIT(9)
#define F_BLK_MQ BIT(12)
#define F_INDIRECT BIT(28)
#define F_EVENT_IDX BIT(29)
#define F_VERSION_1 BIT(32)

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8, BLK_DISCARD = 11 };
enum { BLK_OK = 0, BLK_IOERR = 1, BLK_UNSUPP = 2, BLK_PENDING = 0xee };

#define NO_VECTOR 0xffffU

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct desc) == 16, "virtio 1.2, section 2.7.5");

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};
_Static_assert(sizeof(struct blk_header) == 16, "virtio 1.2, section 5.2.6");

#define QUEUE_ENTRIES 16
#define QUEUES 4

/* The three parts are where the specification wants them, each in pages of its own. */
struct queue {
	struct desc desc[QUEUE_ENTRIES] __attribute__((aligned(4096)));
	volatile uint16_t avail[3 + QUEUE_ENTRIES] __attribute__((aligned(4096))); /* flags, index, ring, used event */
	volatile uint32_t used[1 + 2 * QUEUE_ENTRIES + 1] __attribute__((aligned(4096))); /* flags and index, ring, available event */
	uint16_t seen; /* used index up to which answers were taken */
};

extern struct queue queues[QUEUES];

struct disk {
	bool found;
	unsigned slot;           /* on PCI bus 0 */
	unsigned msix;           /* configuration offset of the MSI-X capability, or 0 */
	volatile uint32_t *msix_table, *msix_pending;
	uint32_t notify_multiplier;
	volatile uint8_t *common, *notify, *isr, *config;
	uint64_t features;       /* offered */
};

extern struct disk disk;

uint16_t common16(unsigned offset);
uint32_t common32(unsigned offset);
uint8_t disk_status(void);
void set_common8(unsigned offset, uint8_t value);
void set_common16(unsigned offset, uint16_t value);
void set_common32(unsigned offset, uint32_t value);
void set_common64(unsigned offset, uint64_t value);

/* Find the device and its structures. */
void disk_find(void);
/* Status 0, and wait for it; false where it does not come. */
bool disk_reset(void);
/* Reset, then up to FEATURES_OK with `features`; false where the device does not accept them. */
bool disk_negotiate(uint64_t features);
/* Give queue `index` its memory, with an MSI-X vector or NO_VECTOR. */
void disk_queue(unsigned index, uint16_t vector);
void disk_driver_ok(void);
/* All of it with one queue and no interrupts: ready for requests by polling. */
bool disk_open(uint64_t features);

void queue_put(unsigned index, uint16_t head);  /* make a chain available, without a notification */
void queue_notify(unsigned index);
bool queue_wait(unsigned index);                /* an answer, in time */
uint32_t queue_answer_id(unsigned index);       /* head of the answer just waited for */
uint32_t queue_answer_length(unsigned index);

/* One whole request by polling: its status, or BLK_PENDING where no answer came. */
uint8_t disk_request(unsigned queue, uint32_t type, uint64_t sector, void *data, uint32_t length);
/* Lay the request out in descriptors 0 to 2 only. */
void disk_lay_out(unsigned queue, uint32_t type, uint64_t sector, void *data, uint32_t length);
extern struct blk_header disk_header;
extern volatile uint8_t disk_answer;

/* Read sector 0: does the device still work? */
bool disk_works(void);

#define NEED_DISK() \
	do { \
		if (!disk.found) \
			SKIP("no virtio-blk device"); \
	} while (0)

#endif
