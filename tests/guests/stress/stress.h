/* The stress guest: random changes of page tables and accesses through them, in every paging mode, each result judged by a model.
 *
 * A batch of operations is made together with the results that the model (model.c, walk.c) says they must have, then carried out (run.c: in
 * 64-bit mode, or by legacy_code.asm16 in 32-bit modes), then compared (stress.c). The model never asks for an access whose result
 * the architecture leaves open: through a translation that a TLB or a paging-structure cache may still hold from before a change. */
#ifndef TESTS_GUESTS_STRESS_STRESS_H
#define TESTS_GUESTS_STRESS_STRESS_H

#include "tests/guests/lib/cpu.h"

/* Physical memory. All of the code runs below 64 MiB, which each root maps one to one for the supervisor. */
#define TABLES MIB(48)         /* the model's tables: roots, then the others */
#define FIXED MIB(50)          /* tables that stay, for the one-to-one part and the user's code */
#define STUBS (FIXED + 0x8000) /* the user's code: a page */
#define LEGACY_CODE MIB(56)
#define DATA MIB(64)           /* data pages: the first four of each 2 MiB up to 72 MiB */
#define STUBS_LINEAR 0x30000000ULL

enum { ROOTS = 3, POOL = 12, TABLE_FRAMES = ROOTS + POOL, BATCH = 256, LINEARS_MAX = 32, LEVELS_MAX = 4 };

enum operation {
	OP_END, OP_ENTRY4, OP_ENTRY8, OP_INVLPG, OP_CR3, OP_CR0, OP_CR4, /* address: of the entry or page; value */
	OP_READ, OP_WRITE, OP_EXEC,
};
enum { OP_USER = 1, OP_AC = 2 };

/* Known to legacy_code.asm16. */
struct op {
	uint32_t kind, flags;
	uint64_t address, value;
	uint32_t vector, error; /* what happened: NO_FAULT or #PF, its error code and CR2 */
	uint64_t cr2;
	uint32_t result;        /* what was read, or what the page's code returned */
	uint32_t expected_vector, expected_error, expected_result;
	uint64_t expected_cr2;
};
_Static_assert(sizeof(struct op) == 64 && offsetof(struct op, cr2) == 32 && offsetof(struct op, result) == 40, "legacy_code.asm16");

/* In each data page: code for the supervisor and for the user that loads the page's name, a word to read, a word to write. */
#define PAGE_EXEC 0U
#define PAGE_USER_EXEC 16U
#define PAGE_READ 64U
#define PAGE_WRITE 128U

/* In the page of user code. */
#define STUB_READ 0U
#define STUB_WRITE 16U

struct mode {
	const char *name;
	bool legacy;        /* 32-bit: run with EFER.LMA clear */
	unsigned levels;
	unsigned entry;     /* bytes */
	bool pse, nxe;
};

/* ---- model.c ---- */

extern struct op batch[BATCH + 1];

/* Begin with new random tables. */
void model_start(const struct mode *mode, uint64_t seed);
/* Fill `batch`; returns the root that it starts with, CR0 and CR4. The TLB is taken to be empty then. */
uint64_t model_batch(uint64_t *start_cr0, uint64_t *start_cr4);
/* Compare what the batch left in tables and data; on a difference returns false with a text. Mixes all of it into the checksum. */
bool model_check_tables(char *text, size_t size, uint64_t *checksum);

/* ---- run.c ---- */

/* Prepare fixed tables, data pages, user code. */
void run_prepare(const struct mode *mode);
void run_batch(const struct mode *mode, uint64_t root, uint64_t cr0, uint64_t cr4);
/* The entry of every root at `index` that maps what stays; 0: there is none. */
uint64_t run_fixed_entry(const struct mode *mode, unsigned index);

#endif
