/* What to print when a guest cannot go on, and why VMRUN refused its state. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/log.h"
#include "lib/x86/registers.h"

static const struct {
	uint16_t offset;
	uint8_t size;
	const char *name;
} fields[] = {
#define FIELD(name, offset) { offset, sizeof(((struct vmcb *)0)->name), #name },
	VMCB_FIELDS(FIELD)
#undef FIELD
};

static const struct {
	uint16_t offset;
	const char *name;
} segments[] = {
#define SEGMENT(name, offset) { offset, #name },
	VMCB_SEGMENTS(SEGMENT)
#undef SEGMENT
};

static uint64_t field(const struct vmcb *b, unsigned i)
{
	const uint8_t *at = (const uint8_t *)b + fields[i].offset;

	switch (fields[i].size) {
	case 1:
		return *at;
	case 2:
		return *(const uint16_t *)at;
	case 4:
		return *(const uint32_t *)at;
	default:
		return *(const uint64_t *)at;
	}
}

void svm_dump(struct vcpu *v)
{
	const struct vmcb *b = vmcb_of(v);

	for (unsigned i = 0; i + 1 < ARRAY_SIZE(fields); i += 2)
		log_line("  %-22s %016lx   %-22s %016lx", fields[i].name, field(b, i), fields[i + 1].name, field(b, i + 1));
	if (ARRAY_SIZE(fields) % 2)
		log_line("  %-22s %016lx", fields[ARRAY_SIZE(fields) - 1].name, field(b, ARRAY_SIZE(fields) - 1));
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
		const struct vmcb_segment *s = (const struct vmcb_segment *)((const uint8_t *)b + segments[i].offset);

		log_line("  %-4s selector %04x attributes %04x limit %08x base %016lx", segments[i].name, s->selector, s->attributes, s->limit,
			 s->base);
	}
}

struct complaints {
	bool aloud;
	unsigned count;
};

static void complain(struct complaints *c, const char *check, uint64_t value)
{
	c->count++;
	if (c->aloud)
		log_line("  failed check: %s (value %lx)", check, value);
}

/* APM vol. 2, "VMRUN Instruction": "Canonicalization and Consistency Checks". */
unsigned svm_explain_entry_failure(struct vcpu *v, bool aloud)
{
	struct complaints c = { .aloud = aloud };
	const struct vmcb *b = vmcb_of(v);
	bool long_mode = b->efer & EFER_LME && b->cr0 & CR0_PG;

	if (!(b->efer & EFER_SVME))
		complain(&c, "EFER.SVME is 0", b->efer);
	if (!(b->cr0 & CR0_CD) && b->cr0 & CR0_NW)
		complain(&c, "CR0.NW without CR0.CD", b->cr0);
	if (b->cr0 >> 32)
		complain(&c, "CR0 bits 63:32 are not 0", b->cr0);
	if (b->cr3 >> 52 || (long_mode && !(b->cr4 & CR4_PCIDE) && b->cr3 & 0xfe7 & ~0xfffUL))
		complain(&c, "CR3 has reserved bits", b->cr3);
	if (b->cr4 & ~svm_features.cr4_possible)
		complain(&c, "CR4 has reserved bits", b->cr4);
	if (b->dr6 >> 32)
		complain(&c, "DR6 bits 63:32 are not 0", b->dr6);
	if (b->dr7 >> 32)
		complain(&c, "DR7 bits 63:32 are not 0", b->dr7);
	if (b->efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME))
		complain(&c, "EFER has reserved bits", b->efer);
	if (long_mode && !(b->cr4 & CR4_PAE))
		complain(&c, "EFER.LME and CR0.PG without CR4.PAE", b->cr4);
	if (long_mode && !(b->cr0 & CR0_PE))
		complain(&c, "EFER.LME and CR0.PG without CR0.PE", b->cr0);
	if (long_mode && b->cr4 & CR4_PAE && b->cs.attributes & ATTRIBUTE_L && b->cs.attributes & ATTRIBUTE_DB)
		complain(&c, "CS has both L and D in long mode", b->cs.attributes);
	if (!(b->intercept_misc2 & INTERCEPT_VMRUN))
		complain(&c, "VMRUN is not intercepted", b->intercept_misc2);
	if (!b->asid || b->asid >= svm_features.asids)
		complain(&c, "ASID", b->asid);
	if (b->event_injection & EVENT_VALID) {
		unsigned kind = b->event_injection >> EVENT_KIND_SHIFT & 7;

		if (kind == 1 || kind > EVENT_KIND_SOFT_INTERRUPT)
			complain(&c, "the injected event has a reserved type", b->event_injection);
		if (kind == EVENT_KIND_EXCEPTION && ((b->event_injection & 0xff) > 31 || (b->event_injection & 0xff) == 2))
			complain(&c, "the injected exception has a vector that is none", b->event_injection);
	}
	return c.count;
}
