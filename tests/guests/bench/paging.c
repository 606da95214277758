#include "lib/string.h"
#include "tests/guests/bench/bench.h"
#include "tests/guests/lib/trap.h"
#include "tests/guests/lib/window.h"

#define WINDOW "movabsq $0x8000000000, %%r12\n\tmovq $window_table, %%r13\n\t"

static uint64_t other_pml4[512] __attribute__((aligned(4096)));
static uint64_t other_tables[3][512] __attribute__((aligned(4096)));
static uint8_t pages[512][4096] __attribute__((aligned(4096)));

/* Handlers of few instructions, so that what is measured is the way to them: each may use the registers of the measured loop. */
__asm__(".pushsection .text\n"
	"skip_ud: addq $2, (%rsp)\n\tiretq\n"
	/* R14 is where to go on. */
	"skip_fault: addq $8, %rsp\n\tmovq %r14, (%rsp)\n\tiretq\n"
	/* R13 is the entry, R14 what it gets; then the next one's. */
	"map_next: movq %cr2, %rax\n\tmovq %r14, (%r13)\n\taddq $8, %r13\n\taddq $4096, %r14\n\taddq $8, %rsp\n\tiretq\n"
	".popsection");
extern const uint8_t skip_ud[], skip_fault[], map_next[];

static void unmap_all(void)
{
	memset((void *)window_table, 0, sizeof(window_table));
	write_cr3(read_cr3());
}

/* The whole window mapped and each page touched: writable, accessed, dirty. */
static void map_all(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(window_table); i++)
		window_map(i, pages[i], PTE_P | PTE_W);
	for (unsigned i = 0; i < ARRAY_SIZE(window_table); i++)
		*(volatile uint8_t *)window_page(i) = 1;
}

/* A second root: everything below 4 GiB is shared, the window has tables of its own. */
static void make_other_root(void)
{
	memcpy(other_pml4, pml4, sizeof(other_pml4));
	other_pml4[1] = (uint64_t)other_tables[0] | PTE_P | PTE_W | PTE_U;
	other_tables[0][0] = (uint64_t)other_tables[1] | PTE_P | PTE_W | PTE_U;
	other_tables[1][0] = (uint64_t)other_tables[2] | PTE_P | PTE_W | PTE_U;
	other_tables[2][0] = (uint64_t)pages[1] | PTE_P | PTE_W;
}

/* Each write changes the register's bit. */
#define TOGGLE(name, reg, bit) \
	BENCH(name, "movq %%" reg ", %%r12\n\tmovq %%r12, %%r13\n\txorq $" bit ", %%r13", "movq %%r13, %%" reg "\n\txchgq %%r12, %%r13")

static void control_registers(void)
{
	uint64_t root = read_cr3(), cr0 = read_cr0();

	TOGGLE("cr0-toggle-ts", "cr0", "0x8");
	TOGGLE("cr0-toggle-wp", "cr0", "0x10000");
	TOGGLE("cr0-toggle-cd", "cr0", "0x40000000");
	write_cr0(cr0);
	TOGGLE("cr4-toggle-pge", "cr4", "0x80");
	if (cpuid(7, 0).ebx & BIT(7)) {
		/* With SMEP code must not be open to user mode, as the guest's usual root has it. */
		memcpy(other_pml4, pml4, sizeof(other_pml4));
		other_pml4[0] &= ~(uint64_t)PTE_U;
		write_cr3((uint64_t)other_pml4);
		TOGGLE("cr4-toggle-smep", "cr4", "0x100000");
		write_cr3(root);
	}
	BENCH("cr3-read", "", "movq %%cr3, %%r12");
	BENCH("cr3-same-root", "movq %%cr3, %%r12", "movq %%r12, %%cr3");
	make_other_root();
	window_map(0, pages[0], PTE_P | PTE_W);
	BENCH("cr3-two-roots-touch", "movq %%cr3, %%r12\n\tmovq $other_pml4, %%r13\n\tmovabsq $0x8000000000, %%r14",
	      "movq %%r13, %%cr3\n\tmovb (%%r14), %%al\n\txchgq %%r12, %%r13");
	write_cr3(root);
	window_map(0, pages[0], 0);
}

static void exceptions(void)
{
	trap_set_entry(VECTOR_UD, skip_ud);
	BENCH("ud-handled", "", "ud2");
	trap_set_gate(VECTOR_UD, true, 0, 0);

	trap_set_entry(VECTOR_PF, skip_fault);
	BENCH("page-fault-reflected", "movabsq $0x8000000000, %%r12\n\tmovq $78f, %%r14", "movb (%%r12), %%al\n78:");
	trap_set_entry(VECTOR_PF, map_next);
	report("page-fault-map-retry", MEASURE_AFTER(unmap_all(), WINDOW "leaq pages+3, %%r14", "movb %%al, (%%r12)\n\taddq $4096, %%r12"));
	trap_set_gate(VECTOR_PF, true, 0, 0);
	unmap_all();
}

static void page_tables(void)
{
	map_all();
	BENCH("invlpg-large-page", "movl $0x200000, %%r12d", "invlpg (%%r12)");
	BENCH("invlpg", WINDOW, "invlpg (%%r12)");
	/* pages is aligned to a page only: the two addresses differ in more than one bit, so they take turns by XOR with their difference. */
	BENCH("pte-flip-invlpg-touch", WINDOW "movq $pages, %%r14\n\txorq $pages+4096, %%r14",
	      "xorq %%r14, (%%r13)\n\tinvlpg (%%r12)\n\tmovb (%%r12), %%al");
	map_all();
	BENCH("pte-write-cr3-reload", "movq $window_table, %%r13\n\tmovq %%cr3, %%r12\n\tmovq $pages, %%r14\n\txorq $pages+4096, %%r14",
	      "xorq %%r14, (%%r13)\n\tmovq %%r12, %%cr3");
	map_all();
	BENCH("pte-write-cr3-reload-touch", WINDOW "movq %%cr3, %%rbx\n\tmovq $pages, %%r14\n\txorq $pages+4096, %%r14",
	      "xorq %%r14, (%%r13)\n\tmovq %%rbx, %%cr3\n\tmovb (%%r12), %%al");
	unmap_all();
	/* What a kernel does with a page directory that a process leaves behind: the page is cleared by REP STOSB and used for something else.
	 * Each round uses it as a table once more; 4096 of the ticks are the bare machine's own. */
	report("page-directory-reused-rep-stosb", MEASURE_AFTER(make_other_root(), "movq %%cr3, %%r12\n\tmovabsq $0x8000000000, %%r14\n\tmovq other_tables+4096, %%r13",
	      "movq %%r13, other_tables+4096\n\tmovq $other_pml4, %%rax\n\tmovq %%rax, %%cr3\n\tmovb (%%r14), %%al\n\tmovq %%r12, %%cr3\n\t"
	      "xorl %%eax, %%eax\n\tmovl $4096, %%ecx\n\tmovq $other_tables+4096, %%rdi\n\trep stosb"));
}

void paging(void)
{
	control_registers();
	exceptions();
	page_tables();
}
