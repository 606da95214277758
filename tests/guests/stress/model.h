/* Inside of the stress guest's model: the tables as they must be, walked as a CPU does (walk.c), and what it makes of them (model.c). */
#ifndef TESTS_GUESTS_STRESS_MODEL_H
#define TESTS_GUESTS_STRESS_MODEL_H

#include "tests/guests/stress/stress.h"

#define P BIT(0)
#define W BIT(1)
#define U BIT(2)
#define A BIT(5)
#define D BIT(6)
#define PS BIT(7)
#define G BIT(8)
#define NX BIT(63)
#define ADDRESS 0x000ffffffffff000ULL

/* The walk of a linear address: the entries that it used, from the root's on. */
struct walk {
	unsigned count;                /* entries seen */
	unsigned tables;               /* of these, the ones that led to a further table */
	struct { unsigned frame, index; uint64_t value; } step[LEVELS_MAX];
	bool fault, reserved, unknown; /* unknown: through a table that the model does not have */
	bool large, user, write, nx, global;
	unsigned shift;                /* of the page */
	uint64_t physical;
};

/* The model's state. */
extern const struct mode *mode;
extern uint64_t mirror[TABLE_FRAMES][512];            /* the tables */
extern uint8_t maybe_accessed[TABLE_FRAMES][1024];    /* a walk that ended in a fault used the entry: it may have set A */
extern uint64_t linears[LINEARS_MAX];                 /* the addresses that are tried */
extern unsigned linear_count, root;
extern uint64_t cr0, cr4;
extern unsigned maxphyaddr;
extern bool pages_1g;

/* Bits of a table's index; of an address below a level's index. */
unsigned index_bits(void);
unsigned level_shift(unsigned level);

/* The entry `index` of a table. */
uint64_t get_entry(unsigned frame, unsigned index);
void put_entry(unsigned frame, unsigned index, uint64_t value);

/* What is at a physical address; the address of a data page; and one number for each data page and then each table. */
bool is_table(uint64_t physical);
bool is_data(uint64_t physical);
uint64_t data_page(unsigned number);
unsigned page_number(uint64_t physical);
/* Is the table a root of PAE paging: four entries, which the CPU loads with CR3? */
bool is_pdpte_root(unsigned frame);

struct walk walk(uint64_t linear);

/* What the CPU may hold of address number `which` from now on; what it holds no longer, after a change of CR4.PGE, a MOV to CR3, INVLPG. */
void hold(unsigned which, const struct walk *w);
void forget_all(void);
void forget_nonglobal(void);
void forget_page(uint64_t linear);
/* May an access be made: is all that the CPU may hold for the address what the tables say now? */
bool settled(uint64_t linear, const struct walk *w);

#endif
