/* Segments: the order of their registers, the registers' hidden part with its access rights, and the descriptors in memory (SDM vol. 3,
 * "Segment Descriptors"). */
#ifndef LIB_X86_SEGMENT_H
#define LIB_X86_SEGMENT_H

#include "lib/types.h"

/* In the order of the instructions' encoding (SDM vol. 2, "ModRM"); LDTR and TR are no operands. */
enum segment_register { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

/* `limit` is in bytes. `access` has the layout of the VMCS's access-rights fields (SDM vol. 3, "Guest Register State"): the descriptor's
 * bits 55:52 and 47:40 in 15:12 and 7:0, and bit 16 for an unusable segment. */
struct segment_state {
	uint16_t selector;
	uint32_t limit, access;
	uint64_t base;
};

#define SEG_OPERANDS SEG_LDTR /* how many of them an instruction can name */

#define SEGMENT_TYPE 0xfU
#define SEGMENT_TYPE_ACCESSED BIT(0)
#define SEGMENT_TYPE_WRITABLE BIT(1) /* data segments; for code segments: readable */
#define SEGMENT_TYPE_EXPAND_DOWN BIT(2)
#define SEGMENT_TYPE_CONFORMING BIT(2) /* code segments */
#define SEGMENT_TYPE_CODE BIT(3)
#define SEGMENT_TYPE_BUSY BIT(1) /* TSSs */
#define SEGMENT_S BIT(4) /* code and data; 0: a system descriptor, of these types: */
enum system_descriptor_type {
	TYPE_TSS16 = 1,
	TYPE_LDT = 2,
	TYPE_TSS16_BUSY = 3,
	TYPE_CALL_GATE16 = 4,
	TYPE_TASK_GATE = 5,
	TYPE_INTERRUPT_GATE16 = 6,
	TYPE_TRAP_GATE16 = 7,
	TYPE_TSS32 = 9, /* or 64 bits wide, like the following types */
	TYPE_TSS32_BUSY = 11,
	TYPE_CALL_GATE32 = 12,
	TYPE_INTERRUPT_GATE32 = 14,
	TYPE_TRAP_GATE32 = 15,
};
#define SEGMENT_DPL_SHIFT 5
#define SEGMENT_DPL (3U << SEGMENT_DPL_SHIFT)
#define SEGMENT_P BIT(7)
#define SEGMENT_L BIT(13)
#define SEGMENT_DB BIT(14)
#define SEGMENT_G BIT(15)
#define SEGMENT_UNUSABLE BIT(16)

/* Whole access rights, as a reset leaves them: present, accessed. */
#define SEGMENT_CODE_16 0x9bU /* readable */
#define SEGMENT_DATA_16 0x93U /* writable */
#define SEGMENT_LDT 0x82U
#define SEGMENT_TSS_32 0x8bU /* busy */

/* The flat segments of protected mode. */
#define SEGMENT_CODE_32 0xc09bU
#define SEGMENT_CODE_64 0xa09bU
#define SEGMENT_DATA_32 0xc093U

/* The same in descriptors: base 0, limit 4 GiB. */
#define DESCRIPTOR_CODE_32 0x00cf9b000000ffffULL
#define DESCRIPTOR_CODE_64 0x00af9b000000ffffULL
#define DESCRIPTOR_DATA_32 0x00cf93000000ffffULL
#define DESCRIPTOR_TSS_AVAILABLE (SEGMENT_P | TYPE_TSS32) /* its bits 47:40 */

/* What LGDT, LIDT, SGDT and SIDT take and give in 64-bit mode. */
struct PACKED table_pointer {
	uint16_t limit;
	uint64_t base;
};
_Static_assert(sizeof(struct table_pointer) == 10, "the CPU reads it");

#endif
