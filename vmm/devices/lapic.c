/* The local APIC's life, modes and register file. */
#include "vmm/devices/lapic.h"

#include "lib/string.h"
#include "lib/x86/msr.h"
#include "vmm/devices/lapic_registers.h"

/* Integrated APIC, six LVT entries (no CMCI). */
#define VERSION 0x00050014U
#define VERSION_EOI_SUPPRESSION 0x01000000U

#define REG_BIT(reg) BIT((reg) & 0x3f)
#define REG_RANGE(first, n) ((BIT(n) - 1) << (first))

#define REGS_COMMON_READ (REG_BIT(LAPIC_ID) | REG_BIT(LAPIC_VERSION) | REG_BIT(LAPIC_TPR) | REG_BIT(LAPIC_PPR) | REG_BIT(LAPIC_LDR) | \
			  REG_BIT(LAPIC_SVR) | REG_RANGE(LAPIC_ISR, 24) | REG_BIT(LAPIC_ESR) | REG_BIT(LAPIC_ICR) | \
			  REG_RANGE(LAPIC_LVT_TIMER, 6) | REG_BIT(LAPIC_INITIAL_COUNT) | REG_BIT(LAPIC_CURRENT_COUNT) | REG_BIT(LAPIC_DIVIDE))
/* APR, RRD and reads of EOI are remnants of older APICs: zero, but no error. */
#define REGS_XAPIC (REGS_COMMON_READ | REG_BIT(LAPIC_APR) | REG_BIT(LAPIC_RRD) | REG_BIT(LAPIC_EOI) | REG_BIT(LAPIC_DFR) | \
		    REG_BIT(LAPIC_ICR_HIGH))
#define REGS_X2APIC_WRITE (REG_BIT(LAPIC_TPR) | REG_BIT(LAPIC_EOI) | REG_BIT(LAPIC_SVR) | REG_BIT(LAPIC_ESR) | REG_BIT(LAPIC_ICR) | \
			   REG_RANGE(LAPIC_LVT_TIMER, 6) | REG_BIT(LAPIC_INITIAL_COUNT) | REG_BIT(LAPIC_DIVIDE) | REG_BIT(LAPIC_SELF_IPI))

/* Bits that a write can set. */
static const uint32_t writable[64] = {
	[LAPIC_TPR] = 0xff,
	[LAPIC_LDR] = 0xff000000,
	[LAPIC_DFR] = 0xf0000000,
	[LAPIC_SVR] = 0x13ff,
	[LAPIC_ICR] = 0xccfff & ~0x1000U,
	[LAPIC_ICR_HIGH] = 0xff000000,
	[LAPIC_LVT_TIMER] = 0x700ff,
	[LAPIC_LVT_THERMAL] = 0x107ff,
	[LAPIC_LVT_PERF] = 0x107ff,
	[LAPIC_LVT_LINT0] = 0x1a7ff,
	[LAPIC_LVT_LINT1] = 0x1a7ff,
	[LAPIC_LVT_ERROR] = 0x100ff,
	[LAPIC_INITIAL_COUNT] = 0xffffffff,
	[LAPIC_DIVIDE] = 0xb,
	[LAPIC_SELF_IPI] = 0xff,
};

/* Read-only status bits: a write of them is neither stored nor an error. */
static const uint32_t ignored[64] = {
	[LAPIC_ICR] = 0x1000,
	[LAPIC_LVT_TIMER] = 0x1000,
	[LAPIC_LVT_THERMAL] = 0x1000,
	[LAPIC_LVT_PERF] = 0x1000,
	[LAPIC_LVT_LINT0] = 0x5000,
	[LAPIC_LVT_LINT1] = 0x5000,
	[LAPIC_LVT_ERROR] = 0x1000,
};

static uint32_t writable_bits(const struct lapic *l, unsigned reg)
{
	uint32_t bits = writable[reg];

	if (reg == LAPIC_LVT_TIMER && !l->tsc_deadline_allowed)
		bits &= ~LVT_TIMER_DEADLINE;
	else if (reg == LAPIC_SVR && !l->eoi_suppression_allowed)
		bits &= ~SVR_SUPPRESS_EOI;
	return bits;
}

/* ID, LDR and DFR as the mode has them. */
static void put_identity(struct lapic *l)
{
	if (l->x2apic) {
		lapic_put(l, LAPIC_ID, l->apic_id);
		lapic_put(l, LAPIC_LDR, (l->apic_id >> 4) << 16 | 1U << (l->apic_id & 15));
		lapic_put(l, LAPIC_DFR, 0);
	} else {
		lapic_put(l, LAPIC_ID, l->apic_id << 24);
		lapic_put(l, LAPIC_LDR, 0);
		lapic_put(l, LAPIC_DFR, 0xffffffff);
	}
}

static void update_enabled(struct lapic *l)
{
	__atomic_store_n(&l->software_enabled, l->enabled && (lapic_get(l, LAPIC_SVR) & SVR_ENABLE), __ATOMIC_RELAXED);
}

/* All registers as after INIT; the mode stays. */
static void reset_registers(struct lapic *l)
{
	lapic_timer_stop(l);
	__atomic_store_n(&l->software_enabled, false, __ATOMIC_RELAXED);
	for (unsigned reg = 0; reg < 256; reg++)
		memset(l->page + reg * 16UL, 0, 16);
	put_identity(l);
	lapic_put(l, LAPIC_VERSION, VERSION | (l->eoi_suppression_allowed ? VERSION_EOI_SUPPRESSION : 0));
	lapic_put(l, LAPIC_SVR, 0xff);
	for (unsigned reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
		lapic_put(l, reg, LVT_MASKED);
	lapic_timer_set_divide(l, 0);
	lapic_timer_set_lvt(l, LVT_MASKED);
	__atomic_store_n(&l->errors, 0, __ATOMIC_RELAXED);
	lapic_clear_interrupts(l);
}

void lapic_init(struct lapic *l, struct vm *vm, unsigned cpu_index, uint32_t apic_id, void *page, bool hw_delivery)
{
	*l = (struct lapic){
		.page = page,
		.hw_delivery = hw_delivery,
		.x2apic_allowed = true,
		.tsc_deadline_allowed = true,
		.eoi_suppression_allowed = true,
		.apic_id = apic_id,
		.vm = vm,
		.cpu_index = cpu_index,
	};
	lapic_timer_init(l);
}

int lapic_bus_add(struct lapic_bus *bus, struct lapic *l)
{
	if (bus->count == VM_MAX_VCPUS)
		return ERR_NOMEM;
	bus->lapic[bus->count++] = l;
	l->bus = bus;
	return 0;
}

static void set_mode(struct lapic *l, uint64_t base)
{
	l->base = base;
	__atomic_store_n(&l->enabled, (base & APIC_BASE_ENABLE) != 0, __ATOMIC_RELAXED);
	__atomic_store_n(&l->x2apic, (base & APIC_BASE_X2APIC) != 0, __ATOMIC_RELAXED);
}

void lapic_reset(struct lapic *l, bool bsp)
{
	set_mode(l, LAPIC_BASE | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0));
	reset_registers(l);
}

void lapic_init_reset(struct lapic *l)
{
	reset_registers(l);
}

void lapic_virtual_wire(struct lapic *l)
{
	lapic_put(l, LAPIC_SVR, SVR_ENABLE | 0xff);
	update_enabled(l);
	lapic_put(l, LAPIC_LVT_LINT0, APIC_EXTINT << 8);
	lapic_put(l, LAPIC_LVT_LINT1, APIC_NMI << 8);
}

uint64_t lapic_base_msr(const struct lapic *l)
{
	return l->base;
}

int lapic_set_base(struct lapic *l, uint64_t value)
{
	bool enable = value & APIC_BASE_ENABLE;
	bool x2apic = value & APIC_BASE_X2APIC;

	/* The base field may be written (SDM vol. 3, "Relocating the Local APIC Registers"), and a move is refused all the same: with hardware
	 * APIC virtualization the page stands at LAPIC_BASE in the one table that all vCPUs share, and each vCPU may move its own. The #GP
	 * says so to a system that tries; a write that is taken and does nothing would leave it with registers in neither place. */
	if ((value & ~(APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE)) != LAPIC_BASE)
		return ERR_INVALID;
	if (x2apic && (!enable || !l->x2apic_allowed || !l->enabled))
		return ERR_INVALID;
	if (l->x2apic && enable && !x2apic)
		return ERR_INVALID;
	if (enable == l->enabled && x2apic == l->x2apic) {
		l->base = value;
		return 0;
	}
	set_mode(l, value);
	if (enable && x2apic) {
		/* The other registers survive; the ICR's halves have moved. */
		put_identity(l);
		lapic_put(l, LAPIC_ICR, 0);
		lapic_put(l, LAPIC_ICR_HIGH, 0);
	} else {
		reset_registers(l);
	}
	return 0;
}

static void write_svr(struct lapic *l, uint32_t value)
{
	lapic_put(l, LAPIC_SVR, value);
	update_enabled(l);
	if (value & SVR_ENABLE)
		return;
	for (unsigned reg = LAPIC_LVT_TIMER; reg <= LAPIC_LVT_ERROR; reg++)
		lapic_put(l, reg, lapic_get(l, reg) | LVT_MASKED);
	lapic_timer_set_lvt(l, lapic_get(l, LAPIC_LVT_TIMER));
}

/* One write of a register that is writable in the present mode, `value` free of bits that cannot be set. `high` is the ICR's upper half. */
static void write_register(struct lapic *l, unsigned reg, uint32_t value, uint32_t high)
{
	switch (reg) {
	case LAPIC_TPR:
		lapic_put(l, reg, value);
		lapic_update_ppr(l);
		break;
	case LAPIC_EOI:
		lapic_put(l, reg, 0);
		lapic_eoi(l);
		break;
	case LAPIC_LDR:
		if (l->x2apic)
			put_identity(l);
		else
			lapic_put(l, reg, value);
		break;
	case LAPIC_DFR:
		lapic_put(l, reg, l->x2apic ? 0 : value | 0x0fffffff);
		break;
	case LAPIC_SVR:
		write_svr(l, value);
		break;
	case LAPIC_ESR:
		lapic_put(l, reg, __atomic_exchange_n(&l->errors, 0, __ATOMIC_RELAXED));
		break;
	case LAPIC_ICR:
		lapic_put(l, reg, value);
		if (l->x2apic)
			*(lapic_word(l, reg) + 1) = high;
		lapic_send_icr(l, value, high);
		break;
	case LAPIC_LVT_TIMER:
	case LAPIC_LVT_THERMAL:
	case LAPIC_LVT_PERF:
	case LAPIC_LVT_LINT0:
	case LAPIC_LVT_LINT1:
	case LAPIC_LVT_ERROR:
		if (!l->software_enabled)
			value |= LVT_MASKED;
		lapic_put(l, reg, value);
		if (reg == LAPIC_LVT_TIMER)
			lapic_timer_set_lvt(l, value);
		break;
	case LAPIC_ICR_HIGH:
		lapic_put(l, reg, value);
		break;
	case LAPIC_INITIAL_COUNT:
		lapic_timer_set_count(l, value);
		break;
	case LAPIC_DIVIDE:
		lapic_put(l, reg, value);
		lapic_timer_set_divide(l, value);
		break;
	case LAPIC_SELF_IPI:
		lapic_put(l, reg, value);
		lapic_send_self(l, (uint8_t)value);
		break;
	case LAPIC_ID:
		lapic_put(l, reg, l->x2apic ? l->apic_id : l->apic_id << 24);
		break;
	}
}

/* Bring registers that change by themselves up to date in the page. */
static void refresh(struct lapic *l, unsigned reg)
{
	if (reg == LAPIC_CURRENT_COUNT)
		lapic_timer_count(l);
	else if (reg == LAPIC_PPR)
		lapic_update_ppr(l);
}

uint64_t lapic_mmio_read(struct lapic *l, unsigned offset, unsigned size)
{
	unsigned reg = offset >> 4, byte = offset & 15;

	if (!l->enabled || l->x2apic)
		return UINT64_MAX;
	if (reg >= 64 || !(REGS_XAPIC & BIT(reg))) {
		lapic_local_error(l, ESR_ILLEGAL_REGISTER);
		return 0;
	}
	if (byte + size > 4 && !(byte == 0 && size == 8))
		return 0;
	refresh(l, reg);
	return (uint64_t)lapic_get(l, reg) >> byte * 8;
}

void lapic_mmio_write(struct lapic *l, unsigned offset, unsigned size, uint64_t value)
{
	unsigned reg = offset >> 4;

	if (!l->enabled || l->x2apic)
		return;
	if (reg >= 64 || !(REGS_XAPIC & BIT(reg))) {
		lapic_local_error(l, ESR_ILLEGAL_REGISTER);
		return;
	}
	if (size != 4 || (offset & 15))
		return;
	write_register(l, reg, (uint32_t)value & writable_bits(l, reg), lapic_get(l, LAPIC_ICR_HIGH) >> 24);
}

int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value)
{
	uint32_t reg = msr - MSR_X2APIC_BASE;

	if (!l->x2apic || reg >= 64 || !(REGS_COMMON_READ & BIT(reg)))
		return ERR_INVALID;
	refresh(l, reg);
	*value = lapic_get(l, reg);
	if (reg == LAPIC_ICR)
		*value |= (uint64_t)*(lapic_word(l, reg) + 1) << 32;
	return 0;
}

int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
	uint32_t reg = msr - MSR_X2APIC_BASE;
	uint32_t bits;

	if (!l->x2apic || reg >= 64 || !(REGS_X2APIC_WRITE & BIT(reg)))
		return ERR_INVALID;
	if (reg != LAPIC_ICR && value >> 32)
		return ERR_INVALID;
	bits = writable_bits(l, reg);
	if ((uint32_t)value & ~(bits | ignored[reg]))
		return ERR_INVALID;
	write_register(l, reg, (uint32_t)value & bits, (uint32_t)(value >> 32));
	return 0;
}

void lapic_write_done(struct lapic *l, unsigned offset)
{
	unsigned reg = (offset >> 4) & 0xff;
	uint32_t high;

	if (!l->enabled || reg >= 64 || (reg == LAPIC_SELF_IPI && !l->x2apic))
		return;
	high = l->x2apic ? *(lapic_word(l, LAPIC_ICR) + 1) : lapic_get(l, LAPIC_ICR_HIGH) >> 24;
	write_register(l, reg, lapic_get(l, reg) & writable_bits(l, reg), high);
}

uint64_t lapic_cr8(const struct lapic *l)
{
	return lapic_get(l, LAPIC_TPR) >> 4;
}

void lapic_set_cr8(struct lapic *l, uint64_t value)
{
	lapic_put(l, LAPIC_TPR, (uint32_t)(value & 15) << 4);
	lapic_update_ppr(l);
}

bool lapic_accepts_pic(const struct lapic *l)
{
	return !l->enabled || (lapic_get(l, LAPIC_LVT_LINT0) & (LVT_MASKED | LVT_DELIVERY_MODE)) == APIC_EXTINT << 8;
}

void lapic_lint(struct lapic *l, unsigned pin)
{
	uint32_t lvt;

	if (!l->enabled || pin > 1)
		return;
	lvt = lapic_get(l, LAPIC_LVT_LINT0 + pin);
	if (lvt & LVT_MASKED)
		return;
	switch ((lvt & LVT_DELIVERY_MODE) >> 8) {
	case APIC_FIXED:
		lapic_accept(l, (uint8_t)lvt, false);
		break;
	case APIC_NMI:
		vm_cpu_event(l->vm, l->cpu_index, CPU_EVENT_NMI, 0);
		break;
	}
}
