/* A small machine with one virtio-blk disk, and the driver's half of virtio over PCI, for the unit tests. */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include "drivers/disk/ram_disk.h"
#include "vmm/devices/virtio_blk.h"

#define RAM_SIZE 0x40000U
#define DISK_SECTORS 64U
#define SLOT 3U
#define GSI 19U
#define BAR 0xc0000000U
#define MSIX_CAP 0x40U

#define ALL_FEATURES (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_INDIRECT_DESC) | BIT(VIRTIO_F_RING_EVENT_IDX) | BIT(VIRTIO_BLK_F_FLUSH))
#define PLAIN_FEATURES (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_BLK_F_FLUSH))

/* Where queue q's rings lie. */
#define DESC_AT(q) (0x1000U + 0x4000U * (q))
#define AVAIL_AT(q) (DESC_AT(q) + 0x1000U)
#define USED_AT(q) (DESC_AT(q) + 0x2000U)

/* A backend that keeps requests until the test completes them. */
struct slow_disk {
	struct block_device block;
	struct ram_disk *behind;
	struct block_request *held[16];
	unsigned count;
};

struct machine {
	uint8_t *ram;    /* guest-physical 0, on the heap so that any access outside is seen */
	uint8_t *medium;
	struct guest_memory mem;
	struct io_space pio, mmio;
	struct pci pci;
	struct ram_disk disk;
	struct slow_disk slow;
	struct virtio_blk blk;
	struct virtio_blk_slot slots[VIRTIO_BLK_SLOTS];
	unsigned queue_size;
};

extern struct machine m;

/* Build it, the disk with `queues` queues, on the RAM disk or on the slow one. */
void machine_build(unsigned queues, bool slow, bool read_only);
void machine_free(void);

uint32_t config_read(unsigned reg, unsigned size);
void config_write(unsigned reg, unsigned size, uint32_t value);
uint64_t bar_read(unsigned offset, unsigned size);
void bar_write(unsigned offset, unsigned size, uint64_t value);

/* Fields of the common configuration. */
#define COMMON(field) ((unsigned)offsetof(struct virtio_pci_common_cfg, field))
uint8_t status_read(void);
void status_write(uint8_t status);
void features_write(uint64_t features);
void queue_place(unsigned queue, uint64_t desc, uint64_t avail, uint64_t used);

/* Reset the device and bring it to DRIVER_OK with these features and all queues of this size. MSI-X vector 0 is for the configuration,
 * q + 1 for queue q. */
void driver_start(uint64_t features, unsigned queue_size, bool msix);

void set_desc(uint64_t table, unsigned index, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
void put16(uint64_t at, uint16_t value);
uint16_t get16(uint64_t at);
void offer(unsigned queue, uint16_t head);
void kick(unsigned queue);
uint16_t used_idx(unsigned queue);
/* The used length of the element before the used index. */
uint32_t last_used_len(unsigned queue);
uint32_t last_used_id(unsigned queue);

void put_header(uint64_t at, uint32_t type, uint64_t sector);

/* The n-th request that the slow disk holds gets done. */
void slow_complete(unsigned n, int forced_error);

#endif
