/* Exceptions: vector, error code, CR2 and saved RIP (SDM vol. 3, chapter 6). */
#include "lib/string.h"
#include "tests/guests/lib/test.h"
#include "tests/guests/lib/trap.h"
#include "tests/guests/lib/window.h"

#define PF_P 1U
#define PF_W 2U
#define PF_U 4U
#define PF_RSVD 8U
#define PF_I 16U

TEST(exc_divide, "#DE: division by zero and overflow")
{
	uint64_t a = 1, d = 0;

	TRY("divq %2", "+a"(a), "+d"(d) : "r"(0ULL) : "cc");
	CHECK_FAULT("1 / 0", VECTOR_DE, 0);
	d = 1;
	TRY("divq %2", "+a"(a), "+d"(d) : "r"(1ULL) : "cc");
	CHECK_FAULT("2^64 / 1", VECTOR_DE, 0);
}

TEST(exc_undefined, "#UD: UD2, and 32-bit instructions in 64-bit mode")
{
	TRY("ud2");
	CHECK_FAULT("UD2", VECTOR_UD, 0);
	CHECK(memcmp((const void *)fault.frame.rip, "\x0f\x0b", 2) == 0, "RIP %llx is not at the UD2", (unsigned long long)fault.frame.rip);
	TRY(".byte 0x06"); /* push es */
	CHECK_FAULT("PUSH ES", VECTOR_UD, 0);
	TRY(".byte 0xce"); /* into */
	CHECK_FAULT("INTO", VECTOR_UD, 0);
	SKIP_QEMU("LOCK on a register is let pass");
	TRY(".byte 0xf0, 0x89, 0xc0"); /* lock mov eax, eax */
	CHECK_FAULT("LOCK on a register", VECTOR_UD, 0);
	TRY(".byte 0x0f, 0xff, 0xc0"); /* ud0 eax, eax */
	CHECK_FAULT("UD0", VECTOR_UD, 0);
}

TEST(exc_software, "#BP and INT n: RIP behind the instruction")
{
	TRY("int3");
	CHECK_FAULT("INT3", VECTOR_BP, 0);
	CHECK(*(const uint8_t *)(fault.frame.rip - 1) == 0xcc, "INT3's RIP is not behind it");
	TRY(".byte 0xcd, 3"); /* the assembler would choose INT3 */
	CHECK_FAULT("INT 3", VECTOR_BP, 0);
	CHECK(*(const uint8_t *)(fault.frame.rip - 2) == 0xcd, "INT 3's RIP is not behind it");
	TRY("int $4");
	CHECK_FAULT("INT 4", VECTOR_OF, 0);
	TRY("int $0x99");
	CHECK_FAULT("INT 0x99", 0x99, 0);
	SKIP_QEMU("INT1 goes to its debugger");
	TRY(".byte 0xf1"); /* INT1 */
	CHECK_FAULT("INT1", VECTOR_DB, 0);
}

TEST(exc_gp_selector, "#GP, #NP, #SS with a selector as error code")
{
	TRY("movw %w0, %%ds", : "r"(0x1238));
	CHECK_FAULT("a selector beyond the GDT", VECTOR_GP, 0x1238);
	TRY("movw %w0, %%es", : "r"(0x100c));
	CHECK_FAULT("an LDT selector without an LDT", VECTOR_GP, 0x100c);
	TRY("movw %w0, %%ds", : "r"(SEL_NOT_PRESENT));
	CHECK_FAULT("DS not present", VECTOR_NP, SEL_NOT_PRESENT);
	TRY("movw %w0, %%ss", : "r"(SEL_NOT_PRESENT));
	CHECK_FAULT("SS not present", VECTOR_SS, SEL_NOT_PRESENT);
	TRY("movw %w0, %%ss", : "r"(SEL_USER_DATA));
	CHECK_FAULT("SS with the wrong privilege", VECTOR_GP, SEL_USER_DATA & ~3);
	TRY("movw %w0, %%cs", : "r"(SEL_CODE64));
	CHECK_FAULT("MOV to CS", VECTOR_UD, 0);
	TRY("ltr %w0", : "r"(SEL_TSS));
	CHECK_FAULT("LTR of a busy TSS", VECTOR_GP, SEL_TSS);
	SKIP_QEMU("LTR takes a null selector");
	TRY("ltr %w0", : "r"(0));
	CHECK_FAULT("LTR of a null selector", VECTOR_GP, 0);
	TRY("lldt %w0", : "r"(SEL_DATA));
	CHECK_FAULT("LLDT of a data segment", VECTOR_GP, SEL_DATA);
	__asm__ volatile("movw %w0, %%ds; movw %w0, %%es" : : "r"(SEL_DATA));
}

TEST(exc_gate, "INT n through gates that refuse it")
{
	static uint8_t code[] = { 0xcd, 0x40 };

	SKIP_QEMU("the error code of a gate is twice what it should be");
	trap_set_gate(0x40, false, 0, 0);
	TRY("int $0x40");
	trap_set_gate(0x40, true, 0, 0);
	CHECK_FAULT("a gate that is not present", VECTOR_NP, 0x40 * 8 + 2);
	run_user64(code, 0);
	CHECK_FAULT("a gate of DPL 0 from user mode", VECTOR_GP, 0x40 * 8 + 2);
}

TEST(exc_canonical, "Non-canonical addresses: #GP(0), through RSP and RBP #SS(0)")
{
	uint64_t bad = 0x0000800000000000;

	TRY("movq (%0), %%rax", : "r"(bad) : "rax");
	CHECK_FAULT("a load", VECTOR_GP, 0);
	SKIP_QEMU("#GP where #SS is due, and the other way round");
	TRY("pushq %%rbp; movq %0, %%rbp; movq (%%rbp), %%rax", : "r"(bad) : "rax");
	__asm__ volatile("movq %0, %%rbp" : : "r"(fault.vector == NO_FAULT ? 0 : *(const uint64_t *)fault.frame.rsp));
	CHECK_FAULT("a load through RBP", VECTOR_SS, 0);
	TRY("jmp *%0", : "r"(bad));
	CHECK_FAULT("a jump", VECTOR_GP, 0);
	/* INVLPG of a non-canonical address is a no-operation in 64-bit mode (SDM vol. 2). */
	TRY("invlpg (%0)", : "r"(bad));
	CHECK_NO_FAULT("INVLPG of a non-canonical address");
	TRY("invlpg (%0)", : "r"(0xffff7fffffffffff));
	CHECK_NO_FAULT("INVLPG of another non-canonical address");
}

static uint8_t page[4096] __attribute__((aligned(4096)));

#define CHECK_PF(what, error_, address) \
	do { \
		CHECK_FAULT(what, VECTOR_PF, error_); \
		CHECK(fault.cr2 == (uint64_t)(address), "%s: expected CR2 %llx, saw %llx", what, (unsigned long long)(address), \
		      (unsigned long long)fault.cr2); \
	} while (0)

TEST(exc_page_kernel, "#PF: error codes and CR2 in supervisor mode")
{
	volatile uint8_t *at = window_map(3, page, 0);
	unsigned width = cpuid(0x80000008, 0).eax & 0xff;
	uint64_t cr0 = read_cr0();

	TRY("movb 0x123(%0), %%al", : "r"(at) : "rax");
	CHECK_PF("a read, not present", 0, at + 0x123);
	TRY("movb %%al, 0x456(%0)", : "r"(at) : "memory");
	CHECK_PF("a write, not present", PF_W, at + 0x456);
	window_map(3, page, PTE_P);
	TRY("movb 0xfff(%0), %%al", : "r"(at) : "rax");
	CHECK_NO_FAULT("a read of a read-only page");
	TRY("movb %%al, 1(%0)", : "r"(at) : "memory");
	CHECK_PF("a write to a read-only page under WP", PF_W | PF_P, at + 1);
	TRY("lock incl 4(%0)", : "r"(at) : "memory");
	CHECK_PF("a locked read-modify-write of a read-only page", PF_W | PF_P, at + 4);
	write_cr0(cr0 & ~CR0_WP);
	TRY("movb %%al, 1(%0)", : "r"(at) : "memory");
	write_cr0(cr0);
	CHECK_NO_FAULT("a write to a read-only page without WP");
	window_map(3, page, PTE_P | PTE_W);
	CHECK(!(window_table[3] & (PTE_A | PTE_D)), "the fresh entry has A or D set");
	(void)at[0];
	CHECK((window_table[3] & (PTE_A | PTE_D)) == PTE_A, "after a read the entry is %llx", (unsigned long long)window_table[3]);
	at[0] = 0xc3;
	CHECK((window_table[3] & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "after a write the entry is %llx", (unsigned long long)window_table[3]);
	/* Two pages, the second missing: CR2 is the second's first byte. */
	window_map(4, page, 0);
	TRY("movq 0xffc(%0), %%rax", : "r"(at) : "rax");
	CHECK_PF("a read across the end", 0, at + 0x1000);
	SKIP_QEMU("the error code for a reserved bit lacks P");
	if (width < 52) {
		/* Under EPT the processor itself compares with its own width, so CPUID has to tell that one. */
		window_map(3, page, PTE_P | PTE_W | BIT(width));
		TRY("movb (%0), %%al", : "r"(at) : "rax");
		CHECK_PF("an address bit above the physical width", PF_RSVD | PF_P, at);
		window_map(3, page, PTE_P | PTE_W | BIT(51));
		TRY("movb %%al, (%0)", : "r"(at) : "memory");
		CHECK_PF("address bit 51", PF_RSVD | PF_P | PF_W, at);
	}
	window_map(3, page, 0);
	TRY("call *%0", : "r"(at) : "memory");
	CHECK_PF("a call, not present", 0 | (cpuid(7, 0).ebx & BIT(7) && (read_cr4() & CR4_SMEP) ? PF_I : 0), at);
	CHECK_EQUAL("RIP of a failed fetch", fault.frame.rip, at);
}

TEST(exc_page_nx, "#PF: execute-disable")
{
	uint64_t efer = rdmsr(MSR_EFER);
	volatile uint8_t *at = window_map(3, page, PTE_P | PTE_W);

	if (!(cpuid(0x80000001, 0).edx & BIT(20)))
		SKIP("no NX");
	at[0] = 0xc3;
	SKIP_QEMU("the error code for a reserved bit lacks P");
	window_map(3, page, PTE_P | PTE_NX);
	wrmsr(MSR_EFER, efer & ~EFER_NXE);
	TRY("movb (%0), %%al", : "r"(at) : "rax");
	CHECK_PF("bit 63 without EFER.NXE is reserved", PF_RSVD | PF_P, at);
	wrmsr(MSR_EFER, efer | EFER_NXE);
	TRY("movb (%0), %%al", : "r"(at) : "rax");
	CHECK_NO_FAULT("a read of an NX page");
	TRY("call *%0", : "r"(at) : "memory");
	CHECK_PF("a call into an NX page", PF_I | PF_P, at);
	window_map(3, page, PTE_P);
	TRY("call *%0", : "r"(at) : "memory");
	CHECK_NO_FAULT("a call into an executable page");
	wrmsr(MSR_EFER, efer);
	window_map(3, page, 0);
}

TEST(exc_page_user, "#PF: user mode")
{
	static uint8_t user_read[] = { 0x8a, 0x07, 0xcd, 0x80 };  /* mov al, [rdi]; int 0x80 */
	static uint8_t user_write[] = { 0x88, 0x07, 0xcd, 0x80 }; /* mov [rdi], al; int 0x80 */
	volatile uint8_t *at = window_map(3, page, PTE_P | PTE_W | PTE_U);

	run_user64(user_write, (uint64_t)at);
	CHECK_FAULT("a write to a user page", VECTOR_USER_END, 0);
	window_map(3, page, PTE_P | PTE_W);
	run_user64(user_read, (uint64_t)at);
	CHECK_PF("a user read of a supervisor page", PF_U | PF_P, at);
	run_user64(user_write, (uint64_t)at + 8);
	CHECK_PF("a user write to a supervisor page", PF_U | PF_P | PF_W, at + 8);
	window_map(3, page, 0);
	run_user64(user_read, (uint64_t)at);
	CHECK_PF("a user read, not present", PF_U, at);
	run_user64(user_write, (uint64_t)at);
	CHECK_PF("a user write, not present", PF_U | PF_W, at);
	run_user64((const void *)at, 0);
	CHECK_PF("a user fetch, not present", PF_U, at);
}

TEST(exc_smap, "#PF: SMEP and SMAP protect user pages from the kernel")
{
	volatile uint8_t *at = window_map(3, page, PTE_P | PTE_W | PTE_U);
	uint64_t cr4 = read_cr4(), low = pml4[0];
	bool smep = cpuid(7, 0).ebx & BIT(7), smap = cpuid(7, 0).ebx & BIT(20);
	struct fault execute, read;

	if (!smep || !smap)
		SKIP("no SMEP or no SMAP");
	at[0] = 0xc3;
	pml4[0] &= ~PTE_U; /* this very code must not lie in user pages now */
	write_cr3(read_cr3());
	write_cr4(cr4 | CR4_SMEP | CR4_SMAP);
	TRY("call *%0", : "r"(at) : "memory");
	execute = fault;
	TRY("movb (%0), %%al", : "r"(at) : "rax");
	read = fault;
	TRY("stac\n\tmovb (%0), %%al\n\tclac", : "r"(at) : "rax");
	write_cr4(cr4);
	pml4[0] = low;
	write_cr3(read_cr3());
	CHECK_NO_FAULT("the kernel reads a user page after STAC");
	fault = execute;
	CHECK_PF("the kernel executes a user page under SMEP", PF_I | PF_P, at);
	fault = read;
	CHECK_PF("the kernel reads a user page under SMAP", PF_P, at);
	TRY("call *%0", : "r"(at) : "memory");
	CHECK_NO_FAULT("the kernel executes a user page without SMEP");
	window_map(3, page, 0);
}

TEST(exc_double, "#DF: a fault while a fault is delivered, error code 0")
{
	trap_set_gate(VECTOR_GP, false, 0, 0);
	trap_set_gate(VECTOR_NP, false, 0, 0);
	TRY("movw %w0, %%ds", : "r"(0x1238));
	trap_set_gate(VECTOR_GP, true, 0, 0);
	trap_set_gate(VECTOR_NP, true, 0, 0);
	CHECK_FAULT("#GP, then #NP", VECTOR_DF, 0);
	__asm__ volatile("movw %w0, %%ds" : : "r"(SEL_DATA));
}

TEST(exc_pf_in_delivery, "#PF while an interrupt is delivered through a missing page")
{
	/* INT n with an interrupt stack in a page that is not present: #PF on the handler's own stack. */
	uint8_t *at = window_map(3, page, 0);
	uint64_t old = tss.ist[2];

	tss.ist[2] = (uint64_t)at + 4096;
	trap_set_gate(0x41, true, 0, 3);
	TRY("int $0x41");
	trap_set_gate(0x41, true, 0, 0);
	CHECK_FAULT("INT 0x41", VECTOR_PF, PF_W);
	CHECK_EQUAL("RIP's first byte", *(const uint8_t *)fault.frame.rip, 0xcd);
	CHECK_EQUAL("CR2's page", fault.cr2 & ~0xfffULL, at);
	window_map(3, page, PTE_P | PTE_W);
	trap_set_gate(0x41, true, 0, 3);
	TRY("int $0x41");
	trap_set_gate(0x41, true, 0, 0);
	CHECK_FAULT("INT 0x41 once the page is there", 0x41, 0);
	tss.ist[2] = old;
	window_map(3, page, 0);
}

TEST(exc_alignment, "#AC: in user mode under CR0.AM and RFLAGS.AC")
{
	static uint8_t code[] = { 0x8b, 0x47, 0x01, 0xcd, 0x80 }; /* mov eax, [rdi + 1]; int 0x80 */
	static uint8_t stack[1024] __attribute__((aligned(16)));
	uint64_t cr0 = read_cr0();

	SKIP_QEMU("there is no alignment check");
	write_cr0(cr0 | CR0_AM);
	run_user(code, SEL_USER_CODE64, 2 | RFLAGS_AC, stack + sizeof(stack), (uint64_t)page);
	write_cr0(cr0);
	CHECK_FAULT("a misaligned user read", VECTOR_AC, 0);
	run_user(code, SEL_USER_CODE64, 2 | RFLAGS_AC, stack + sizeof(stack), (uint64_t)page);
	CHECK_FAULT("the same without CR0.AM", VECTOR_USER_END, 0);
}

TEST(exc_float, "#MF and #XM")
{
	uint16_t control = 0x37b, normal = 0x37f; /* zero-divide unmasked */
	uint32_t mxcsr = 0x1d80, normal_mxcsr = 0x1f80;

	TRY("fninit\n\tfldcw %0\n\tfld1\n\tfldz\n\tfdivrp\n\tfwait", : "m"(control));
	__asm__ volatile("fnclex; fldcw %0; fninit" : : "m"(normal));
	CHECK_FAULT("1 / 0 on the x87", VECTOR_MF, 0);
	SKIP_QEMU("SSE raises no #XM");
	TRY("ldmxcsr %0\n\txorps %%xmm0, %%xmm0\n\tmovl $0x3f800000, %%eax\n\tmovd %%eax, %%xmm1\n\tdivss %%xmm0, %%xmm1", : "m"(mxcsr) : "rax");
	__asm__ volatile("ldmxcsr %0" : : "m"(normal_mxcsr));
	CHECK_FAULT("1 / 0 with SSE", VECTOR_XM, 0);
}

TEST(exc_iret, "IRET: a bad frame is #GP with the selector")
{
	TRY("pushq $0x10\n\tpushq $0x1000\n\tpushq $2\n\tpushq $0x1238\n\tpushq $0x1000\n\tiretq", : : "memory");
	CHECK_FAULT("IRET to a selector beyond the GDT", VECTOR_GP, 0x1238);
	TRY("pushq $0x10\n\tpushq $0x1000\n\tpushq $2\n\tpushq $0x10\n\tpushq $0x1000\n\tiretq", : : "memory");
	CHECK_FAULT("IRET to a data segment", VECTOR_GP, 0x10);
}

TEST(exc_vmx, "VMX, SVM, SMX and SGX instructions are #UD")
{
	uint64_t m[2] = { 0, 0 };

	TRY("vmcall", : : "memory", "rax");
	CHECK_FAULT("VMCALL", VECTOR_UD, 0);
	TRY(".byte 0x0f, 0x01, 0xd9", : : "memory", "rax");
	CHECK_FAULT("VMMCALL", VECTOR_UD, 0);
	TRY("vmxon %0", : "m"(m));
	CHECK_FAULT("VMXON", VECTOR_UD, 0);
	TRY("vmxoff");
	CHECK_FAULT("VMXOFF", VECTOR_UD, 0);
	TRY("vmlaunch");
	CHECK_FAULT("VMLAUNCH", VECTOR_UD, 0);
	TRY("vmresume");
	CHECK_FAULT("VMRESUME", VECTOR_UD, 0);
	TRY("vmclear %0", : "m"(m));
	CHECK_FAULT("VMCLEAR", VECTOR_UD, 0);
	TRY("vmptrld %0", : "m"(m));
	CHECK_FAULT("VMPTRLD", VECTOR_UD, 0);
	TRY("vmptrst %0", "+m"(m));
	CHECK_FAULT("VMPTRST", VECTOR_UD, 0);
	TRY("vmread %%rax, %%rbx", : : "rax", "rbx");
	CHECK_FAULT("VMREAD", VECTOR_UD, 0);
	TRY("vmwrite %%rax, %%rbx", : : "rax", "rbx");
	CHECK_FAULT("VMWRITE", VECTOR_UD, 0);
	TRY("invept %0, %1", : "m"(m), "r"(2ULL));
	CHECK_FAULT("INVEPT", VECTOR_UD, 0);
	TRY("invvpid %0, %1", : "m"(m), "r"(2ULL));
	CHECK_FAULT("INVVPID", VECTOR_UD, 0);
	TRY("movl $0, %%eax\n\tmovl $0, %%ecx\n\tvmfunc", : : "rax", "rcx");
	CHECK_FAULT("VMFUNC", VECTOR_UD, 0);
	TRY(".byte 0x0f, 0x01, 0xd8", : "a"(0x1000)); /* vmrun */
	CHECK_FAULT("VMRUN", VECTOR_UD, 0);
	TRY(".byte 0x0f, 0x37", : "a"(0), "b"(0)); /* getsec */
	CHECK_FAULT("GETSEC", VECTOR_UD, 0);
	TRY("rsm");
	CHECK_FAULT("RSM outside of system-management mode", VECTOR_UD, 0);
	if (!(cpuid(7, 0).ebx & BIT(2))) {
		TRY(".byte 0x0f, 0x01, 0xcf", : "a"(0), "b"(0), "c"(0)); /* encls */
		CHECK_FAULT("ENCLS", VECTOR_UD, 0);
	}
}

TEST(exc_monitor, "MONITOR and MWAIT are #UD when not offered")
{
	if (cpuid(1, 0).ecx & BIT(3))
		SKIP("MONITOR is offered");
	TRY("monitor", : "a"(page), "c"(0), "d"(0));
	CHECK_FAULT("MONITOR", VECTOR_UD, 0);
	TRY("mwait", : "a"(0), "c"(0));
	CHECK_FAULT("MWAIT", VECTOR_UD, 0);
}

TEST(exc_rdpmc, "RDPMC raises #GP where there are no counters; AMD's first four always are")
{
	uint32_t lo, hi;

	TRY("rdpmc", "=a"(lo), "=d"(hi) : "c"(0x7fffffff));
	CHECK_FAULT("RDPMC of counter 0x7fffffff", VECTOR_GP, 0);
	if (under_lamina() && cpu_is_amd()) {
		TRY("rdpmc", "=a"(lo), "=d"(hi) : "c"(3));
		CHECK_NO_FAULT("RDPMC of AMD's counter 3");
		CHECK_EQUAL("RDPMC of AMD's counter 3", lo | hi, 0);
		return;
	}
	if (!under_lamina() || (cpuid(0, 0).eax >= 0xa && (cpuid(0xa, 0).eax & 0xff)))
		SKIP("the machine may have counters");
	TRY("rdpmc", "=a"(lo), "=d"(hi) : "c"(0));
	CHECK_FAULT("RDPMC of counter 0", VECTOR_GP, 0);
}

TEST(exc_cache, "WBINVD, CLFLUSH and PAUSE work; privileged instructions are #GP in user mode")
{
	static uint8_t user[][8] = {
		{ 0xf4, 0xcd, 0x80 },             /* hlt */
		{ 0x0f, 0x09, 0xcd, 0x80 },       /* wbinvd */
		{ 0x0f, 0x20, 0xc0, 0xcd, 0x80 }, /* mov rax, cr0 */
		{ 0x0f, 0x32, 0xcd, 0x80 },       /* rdmsr */
		{ 0x0f, 0x01, 0x3f, 0xcd, 0x80 }, /* invlpg [rdi] */
		{ 0xfa, 0xcd, 0x80 },             /* cli */
		{ 0xe4, 0x80, 0xcd, 0x80 },       /* in al, 0x80 */
		{ 0xe6, 0x80, 0xcd, 0x80 },       /* out 0x80, al */
		{ 0x6e, 0xcd, 0x80 },             /* outsb */
		{ 0x0f, 0x01, 0xd1, 0xcd, 0x80 }, /* xsetbv */
		{ 0x0f, 0x21, 0xc0, 0xcd, 0x80 }, /* mov rax, dr0 */
		{ 0x0f, 0x06, 0xcd, 0x80 },       /* clts */
	};
	uint64_t cr4 = read_cr4();

	TRY("wbinvd", : : "memory");
	CHECK_NO_FAULT("WBINVD");
	TRY("clflush %0\n\tpause", "+m"(page));
	CHECK_NO_FAULT("CLFLUSH");
	if (cpuid(1, 0).ecx & BIT(26))
		write_cr4(cr4 | CR4_OSXSAVE);
	for (unsigned i = 0; i < ARRAY_SIZE(user); i++) {
		if (user[i][1] == 0x01 && user[i][2] == 0xd1 && !(cpuid(1, 0).ecx & BIT(26)))
			continue;
		run_user64(user[i], (uint64_t)page);
		CHECK(fault.vector == VECTOR_GP && fault.error == 0, "user code %02x %02x %02x: expected #GP(0), saw %d", user[i][0], user[i][1],
		      user[i][2], fault.vector);
	}
	write_cr4(cr4);
	static uint8_t vmcall[] = { 0x0f, 0x01, 0xc1, 0xcd, 0x80 };
	static uint8_t user_cpuid[] = { 0x31, 0xc0, 0x0f, 0xa2, 0xcd, 0x80 };
	run_user64(vmcall, 0);
	CHECK_FAULT("VMCALL in user mode", VECTOR_UD, 0);
	run_user64(user_cpuid, 0);
	CHECK_FAULT("CPUID in user mode", VECTOR_USER_END, 0);
	CHECK_EQUAL("CPUID leaf 0 in user mode", fault.frame.rbx, cpuid(0, 0).ebx);
}

TEST(exc_user_io, "The TSS's I/O permission map opens a port to user mode")
{
	static uint8_t code[] = { 0x66, 0x89, 0xfa, 0xec, 0xcd, 0x80 }; /* mov dx, di; in al, dx; int 0x80 */
	static struct PACKED { struct tss head; uint8_t map[0x2001]; } big __attribute__((aligned(4096)));
	uint64_t at = (uint64_t)&big, low, high;

	big.head = tss;
	big.head.io_map = sizeof(tss);
	memset(big.map, 0xff, sizeof(big.map));
	big.map[0x3ff / 8] &= (uint8_t)~(1 << 0x3ff % 8);
	low = (sizeof(big) - 1) | (at & 0xffffff) << 16 | 0x89ULL << 40 | (at >> 24 & 0xff) << 56;
	high = at >> 32;
	gdt[12] = low;
	gdt[13] = high;
	__asm__ volatile("ltr %w0" : : "r"(SEL_FREE));
	outb(0x3ff, 0x6d);
	run_user64(code, 0x3ff);
	if (fault.vector == VECTOR_USER_END)
		CHECK_EQUAL("port 0x3ff in user mode", fault.frame.rax & 0xff, 0x6d);
	CHECK_FAULT("an open port", VECTOR_USER_END, 0);
	run_user64(code, 0x3fe);
	CHECK_FAULT("a closed port", VECTOR_GP, 0);
	gdt[10] &= ~(2ULL << 40); /* no longer busy */
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
}
