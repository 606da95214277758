#include "lib/string.h"
#include "tests/guests/lib/trap.h"
#include "tests/guests/stress/stress.h"

#define KEPT 0x63U       /* present, writable, accessed, dirty: nothing that the CPU would set */
#define KEPT_USER 0x67U
#define LARGE BIT(7)

/* What legacy.asm and legacy_code.asm16 need; known to them. */
struct legacy {
	uint32_t cr0, cr3, cr4, efer;
	uint32_t ops, entry, idt_pointer;
};

extern struct legacy legacy;
extern const uint8_t legacy_image[], legacy_image_end[];
void legacy_run(void);

/* The first words of the code for 32-bit modes. */
struct legacy_header {
	uint32_t entry, idt_pointer;
};

static void put_page_code(uint8_t *page, uint32_t name)
{
	static const uint8_t give_back[] = { 0xc3 }, end_user[] = { 0xcd, 0x80 };

	memset(page, 0, 4096);
	page[PAGE_EXEC] = page[PAGE_USER_EXEC] = 0xb8; /* mov $name, %eax */
	memcpy(page + PAGE_EXEC + 1, &name, 4);
	memcpy(page + PAGE_EXEC + 5, give_back, sizeof(give_back));
	memcpy(page + PAGE_USER_EXEC + 1, &name, 4);
	memcpy(page + PAGE_USER_EXEC + 5, end_user, sizeof(end_user));
	memcpy(page + PAGE_READ, &name, 4);
}

uint64_t run_fixed_entry(const struct mode *mode, unsigned index)
{
	switch (mode->levels) {
	case 4:
		return index == 0 ? FIXED | KEPT_USER : 0;
	case 3: /* a PDPTE has no rights */
		return index == 0 ? (FIXED + 0x1000) | 1 : 0;
	default:
		if (index < 16)
			return mode->pse ? index * MIB(4) | KEPT | LARGE : (FIXED + 0x10000 + index * 4096ULL) | KEPT;
		return index == STUBS_LINEAR >> 22 ? (FIXED + 0x2000) | KEPT_USER : 0;
	}
}

void run_prepare(const struct mode *mode)
{
	static const uint8_t read_code[] = { 0x8b, 0x07, 0xcd, 0x80 };  /* mov (%rdi), %eax; int $0x80 */
	static const uint8_t write_code[] = { 0x89, 0x0f, 0xcd, 0x80 }; /* mov %ecx, (%rdi); int $0x80 */
	uint64_t *fixed = (uint64_t *)FIXED;
	uint32_t *fixed4 = (uint32_t *)FIXED;

	for (unsigned i = 0; i < 16; i++)
		put_page_code((uint8_t *)(DATA + i / 4 * MIB(2) + i % 4 * 4096), 0x00c0de00U + (i << 16));
	memset(fixed, 0, 0x20000);
	memcpy((uint8_t *)STUBS + STUB_READ, read_code, sizeof(read_code));
	memcpy((uint8_t *)STUBS + STUB_WRITE, write_code, sizeof(write_code));
	if (mode->levels == 2) {
		fixed4[0x2000 / 4] = STUBS | KEPT_USER;
		for (unsigned i = 0; i < 16 * 1024; i++)
			fixed4[0x10000 / 4 + i] = i * 4096U | KEPT;
	} else {
		fixed[0] = (FIXED + 0x1000) | KEPT_USER;
		for (unsigned i = 0; i < 32; i++)
			fixed[512 + i] = i * MIB(2) | KEPT | LARGE;
		fixed[512 + (STUBS_LINEAR >> 21)] = (FIXED + 0x2000) | KEPT_USER;
		fixed[1024] = STUBS | KEPT_USER;
	}
	memcpy((void *)LEGACY_CODE, legacy_image, (size_t)(legacy_image_end - legacy_image));
}

static void supervisor_access(struct op *op)
{
	uint32_t value = (uint32_t)op->value;

	if (op->kind == OP_EXEC)
		TRY("call *%1", "=a"(value) : "r"(op->address) : "memory");
	else if (op->kind == OP_WRITE && (op->flags & OP_AC))
		TRY("pushfq\n\torl $0x40000, (%%rsp)\n\tpopfq\n\tmovl %0, (%1)\n\tpushq $2\n\tpopfq", : "r"(value), "r"(op->address) : "memory", "cc");
	else if (op->kind == OP_WRITE)
		TRY("movl %0, (%1)", : "r"(value), "r"(op->address) : "memory");
	else if (op->flags & OP_AC)
		TRY("pushfq\n\torl $0x40000, (%%rsp)\n\tpopfq\n\tmovl (%1), %0\n\tpushq $2\n\tpopfq", "=r"(value) : "r"(op->address) : "memory", "cc");
	else
		TRY("movl (%1), %0", "=r"(value) : "r"(op->address) : "memory");
	op->vector = (uint32_t)fault.vector;
	if (op->kind != OP_WRITE)
		op->result = value;
}

static void user_access(struct op *op)
{
	const void *code = (const void *)(op->kind == OP_EXEC ? op->address : STUBS_LINEAR + (op->kind == OP_READ ? STUB_READ : STUB_WRITE));

	fault.vector = NO_FAULT;
	run_user(code, SEL_USER_CODE64, 2, (void *)op->value, op->address);
	op->vector = fault.vector == VECTOR_USER_END ? (uint32_t)NO_FAULT : (uint32_t)fault.vector;
	if (op->kind != OP_WRITE)
		op->result = (uint32_t)fault.frame.rax;
}

static void run_long_mode(void)
{
	for (struct op *op = batch; op->kind != OP_END; op++) {
		switch (op->kind) {
		case OP_ENTRY8:
			*(volatile uint64_t *)op->address = op->value;
			break;
		case OP_INVLPG:
			invlpg((void *)op->address);
			break;
		case OP_CR3:
			write_cr3(op->value);
			break;
		case OP_CR0:
			write_cr0(op->value);
			break;
		case OP_CR4:
			write_cr4(op->value);
			break;
		default:
			(op->flags & OP_USER ? user_access : supervisor_access)(op);
			op->error = (uint32_t)fault.error;
			op->cr2 = fault.cr2;
		}
	}
}

void run_batch(const struct mode *mode, uint64_t root, uint64_t cr0, uint64_t cr4)
{
	uint64_t own_cr0 = read_cr0(), own_cr3 = read_cr3(), own_cr4 = read_cr4(), own_efer = rdmsr(MSR_EFER);
	uint64_t efer = mode->nxe ? own_efer | EFER_NXE : own_efer & ~(uint64_t)EFER_NXE;

	if (mode->legacy) {
		const struct legacy_header *header = (const void *)LEGACY_CODE;

		legacy = (struct legacy){ (uint32_t)cr0, (uint32_t)root, (uint32_t)cr4, (uint32_t)efer & ~(uint32_t)(EFER_LME | EFER_LMA),
					  (uint32_t)(uint64_t)batch, header->entry, header->idt_pointer };
		legacy_run();
	} else {
		wrmsr(MSR_EFER, efer);
		write_cr4(own_cr4 & ~(uint64_t)CR4_PGE);
		write_cr3(root);
		write_cr4(cr4);
		write_cr0(cr0);
		run_long_mode();
		write_cr4(own_cr4 & ~(uint64_t)CR4_PGE); /* before CR3: the guest's usual root is all open to user mode, which SMEP does not like */
		write_cr3(own_cr3);
	}
	write_cr0(own_cr0);
	write_cr4(own_cr4);
	wrmsr(MSR_EFER, own_efer);
}
