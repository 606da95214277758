/* NVM Express: registers and structures (NVM Express Base Specification 1.4; section numbers are of that). */
#ifndef DRIVERS_DISK_NVME_H
#define DRIVERS_DISK_NVME_H

#include "lib/types.h"

/* Registers (section 3.1) */
#define NVME_CAP 0x00U
#define NVME_VS 0x08U
#define NVME_INTMS 0x0cU
#define NVME_CC 0x14U
#define NVME_CSTS 0x1cU
#define NVME_AQA 0x24U
#define NVME_ASQ 0x28U
#define NVME_ACQ 0x30U
#define NVME_DOORBELLS 0x1000U

#define NVME_CC_ENABLE BIT(0)
#define NVME_CC_SHUTDOWN (1U << 14)       /* normal */
#define NVME_CC_QUEUE_ENTRIES (6U << 16 | 4U << 20) /* of 64 and 16 bytes */
#define NVME_CSTS_READY 1U
#define NVME_CSTS_FATAL 2U
#define NVME_CSTS_SHUTDOWN_MASK (3U << 2)
#define NVME_CSTS_SHUTDOWN_DONE (2U << 2)

/* Admin commands (section 5) */
#define NVME_ADMIN_CREATE_SQ 0x01U
#define NVME_ADMIN_CREATE_CQ 0x05U
#define NVME_ADMIN_IDENTIFY 0x06U
#define NVME_ADMIN_SET_FEATURES 0x09U
#define NVME_IDENTIFY_NAMESPACE 0U
#define NVME_IDENTIFY_CONTROLLER 1U
#define NVME_IDENTIFY_ACTIVE 2U
#define NVME_FEATURE_QUEUES 7U

/* Commands of the NVM command set (section 6) */
#define NVME_FLUSH 0x00U
#define NVME_WRITE 0x01U
#define NVME_READ 0x02U

struct nvme_command {
	uint8_t opcode;
	uint8_t flags;
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved;
	uint64_t metadata;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_command) == 64 && offsetof(struct nvme_command, prp1) == 24 &&
	       offsetof(struct nvme_command, cdw10) == 40, "section 4.2");

struct nvme_completion {
	uint32_t result;
	uint32_t reserved;
	uint16_t sq_head;
	uint16_t sq_id;
	uint16_t cid;
	uint16_t status; /* bit 0: phase; 15:1 0 for success */
};
_Static_assert(sizeof(struct nvme_completion) == 16 && offsetof(struct nvme_completion, status) == 14, "section 4.6");

/* Identify Controller (section 5.15.2.2) and Identify Namespace (5.15.2.1): offsets */
#define NVME_ID_SERIAL 4
#define NVME_ID_MODEL 24
#define NVME_ID_MDTS 77
#define NVME_ID_NAMESPACES 516
#define NVME_ID_VWC 525
#define NVME_NS_SIZE 0
#define NVME_NS_FORMAT 26
#define NVME_NS_ATTRIBUTES 99 /* NSATTR: bit 0 write protected */
#define NVME_NS_FORMATS 128

#endif
