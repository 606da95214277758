/* A guest's CPUID table is built once, from the host's leaves, the list of features and the engine's grants. At an exit most leaves are a
 * row of the table; the others depend on the vCPU's state and are computed. */
#include "vmm/exits/cpuid.h"

#include "lib/string.h"
#include "lib/x86/cpuid.h"
#include "lib/x86/registers.h"
#include "vmm/exits/cpuid_bits.h"

/* What a feature needs; the order of the grants' bits is CPUID_GRANT_...'s. */
enum {
	HOST = 0,
	NEED_RDTSCP = CPUID_GRANT_RDTSCP,
	NEED_INVPCID = CPUID_GRANT_INVPCID,
	NEED_PCID = CPUID_GRANT_PCID,
	NEED_XSAVE = CPUID_GRANT_XSAVE,
	NEED_XSAVES = CPUID_GRANT_XSAVES,
	NEED_WAITPKG = CPUID_GRANT_WAITPKG,
	NEED_X2APIC = CPUID_GRANT_X2APIC,
	NEED_TSC_DEADLINE = CPUID_GRANT_TSC_DEADLINE,
	NEED_AVX = BIT(8),
	NEED_AVX512 = BIT(9),
	NEED_SMP = BIT(12),
	EMULATED = BIT(13), /* not a need: the host's bit does not matter */
};

enum row { ROW_1, ROW_7, ROW_7_1, ROW_D_1, ROW_E1, ROW_E8, ROW_E21, ROWS };

static const struct {
	uint16_t needs;
	uint8_t row, reg, bit;
} features[] = {
#define FEATURE(leaf, reg, bit, name, needs) { needs, ROW_##leaf, CPUID_##reg, bit },
#include "vmm/exits/cpuid_features.h"
#undef FEATURE
};

#define INTEL_MAX_BASIC 0x16U
#define INTEL_MAX_EXTENDED 8U
#define XSAVE_LEGACY_SIZE 576U /* legacy region and header */

static bool is_amd(const struct cpuid_host *host)
{
	char vendor[12];

	memcpy(vendor, &host->basic[0][CPUID_EBX], 4);
	memcpy(vendor + 4, &host->basic[0][CPUID_EDX], 4);
	memcpy(vendor + 8, &host->basic[0][CPUID_ECX], 4);
	return memcmp(vendor, "AuthenticAMD", 12) == 0 || memcmp(vendor, "HygonGenuine", 12) == 0;
}

void cpuid_capture(struct cpuid_host *host, void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]))
{
	uint32_t max;

	memset(host, 0, sizeof(*host));
	cpuid(0, 0, host->basic[0]);
	max = host->basic[0][CPUID_EAX];
	for (uint32_t leaf = 1; leaf < CPUID_BASIC_LEAVES && leaf <= max; leaf++)
		cpuid(leaf, 0, host->basic[leaf]);
	cpuid(CPUID_EXTENDED_FIRST, 0, host->extended[0]);
	for (uint32_t i = 1; i < CPUID_EXTENDED_LEAVES && CPUID_EXTENDED_FIRST + i <= host->extended[0][CPUID_EAX]; i++)
		cpuid(CPUID_EXTENDED_FIRST + i, 0, host->extended[i]);
	if (max >= 4 && !is_amd(host)) {
		for (uint32_t i = 0; i < CPUID_CACHES; i++) {
			cpuid(4, i, host->caches[i]);
			if (!(host->caches[i][CPUID_EAX] & 0x1f))
				break;
		}
	}
	if (max >= 7) {
		uint32_t max_sub = host->basic[7][CPUID_EAX];

		for (uint32_t i = 0; i < CPUID_STRUCTURED && i <= max_sub; i++)
			cpuid(7, i, host->structured[i]);
	}
	if (max >= 0xd)
		for (uint32_t i = 0; i < CPUID_XSAVE; i++)
			cpuid(0xd, i, host->xsave[i]);
}

/* The XCR0 bits that the guest gets. */
static uint64_t guest_xcr0(const struct cpuid_host *host, const struct cpuid_policy *policy)
{
	uint64_t supported = host->xsave[0][CPUID_EAX] | (uint64_t)host->xsave[0][CPUID_EDX] << 32;
	uint64_t xcr0 = XCR0_X87 | XCR0_SSE;

	if (!(policy->granted & CPUID_GRANT_XSAVE) || !(host->basic[1][CPUID_ECX] & BIT(CPUID_1_XSAVE)) || (supported & xcr0) != xcr0)
		return 0;
	if ((supported & XCR0_AVX) && (host->basic[1][CPUID_ECX] & BIT(CPUID_1_AVX))) {
		xcr0 |= XCR0_AVX;
		if ((supported & XCR0_AVX512) == XCR0_AVX512 && (host->structured[0][CPUID_EBX] & BIT(CPUID_7_AVX512F)))
			xcr0 |= XCR0_AVX512;
	}
	return xcr0;
}

/* Bytes of the XSAVE area that holds the components of `mask`: in the standard format each at its place, else one after the other. */
static uint32_t xsave_size(const struct cpuid_table *table, uint64_t mask, bool compacted)
{
	uint32_t size = XSAVE_LEGACY_SIZE;

	mask &= BIT(CPUID_XSAVE) - 4;
	for (; mask; mask &= mask - 1) {
		const uint32_t *component = table->xsave[__builtin_ctzll(mask)];

		if (!compacted) {
			size = MAX(size, component[CPUID_EBX] + component[CPUID_EAX]);
		} else {
			if (component[CPUID_ECX] & 2)
				size = ALIGN_UP(size, 64);
			size += component[CPUID_EAX];
		}
	}
	return size;
}

static void build_xsave(struct cpuid_table *table, const struct cpuid_host *host)
{
	uint32_t *main_row = table->xsave[0];

	for (unsigned i = 2; i < CPUID_XSAVE; i++) {
		if (!(table->xcr0 >> i & 1))
			continue;
		memcpy(table->xsave[i], host->xsave[i], sizeof(table->xsave[i]));
		table->xsave[i][CPUID_ECX] &= 2; /* an XCR0 component, perhaps 64-byte aligned */
		table->xsave[i][CPUID_EDX] = 0;
	}
	main_row[CPUID_EAX] = (uint32_t)table->xcr0;
	main_row[CPUID_EDX] = (uint32_t)(table->xcr0 >> 32);
	main_row[CPUID_ECX] = xsave_size(table, table->xcr0, false);
}

static void apply_features(struct cpuid_table *table, const struct cpuid_host *host, uint32_t have)
{
	const uint32_t *from[ROWS] = {
		[ROW_1] = host->basic[1], [ROW_7] = host->structured[0], [ROW_7_1] = host->structured[1], [ROW_D_1] = host->xsave[1],
		[ROW_E1] = host->extended[1], [ROW_E8] = host->extended[8], [ROW_E21] = host->extended[0x21],
	};
	uint32_t *to[ROWS] = {
		[ROW_1] = table->basic[1], [ROW_7] = table->structured[0], [ROW_7_1] = table->structured[1], [ROW_D_1] = table->xsave[1],
		[ROW_E1] = table->extended[1], [ROW_E8] = table->extended[8], [ROW_E21] = table->extended[0x21],
	};

	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		unsigned row = features[i].row, reg = features[i].reg;
		uint32_t bit = 1U << features[i].bit, needs = features[i].needs;

		if ((needs & ~(uint32_t)EMULATED & ~have) == 0 && ((needs & EMULATED) || (from[row][reg] & bit)))
			to[row][reg] |= bit;
	}
}

/* Every vCPU is a core of its own in one package; caches from level 3 up are the package's. */
static void build_caches(struct cpuid_table *table, const struct cpuid_host *host)
{
	uint32_t ids = (1U << table->core_shift) - 1;

	for (unsigned i = 0; i < CPUID_CACHES && (host->caches[i][CPUID_EAX] & 0x1f); i++) {
		uint32_t *row = table->caches[i];

		memcpy(row, host->caches[i], sizeof(table->caches[i]));
		row[CPUID_EAX] = (row[CPUID_EAX] & 0x3ff) | ids << 26 | ((row[CPUID_EAX] >> 5 & 7) >= 3 ? ids << 14 : 0);
	}
}

static void build_basic(struct cpuid_table *table, const struct cpuid_host *host, uint32_t max)
{
	memcpy(table->basic[0], host->basic[0], sizeof(table->basic[0]));
	table->basic[0][CPUID_EAX] = max;
	table->basic[1][CPUID_EAX] = host->basic[1][CPUID_EAX];
	table->basic[1][CPUID_EBX] = (host->basic[1][CPUID_EBX] & 0xffff) | table->vcpus << 16;
	memcpy(table->basic[2], host->basic[2], sizeof(table->basic[2]));
	table->basic[6][CPUID_EAX] = BIT(CPUID_6_ARAT); /* the emulated APIC timer never stops */
}

static void build_time(struct cpuid_table *table, uint64_t tsc_hz, bool amd)
{
	unsigned shift = cpuid_crystal_shift(tsc_hz);
	uint64_t crystal = tsc_hz >> shift;

	if (!amd) {
		table->basic[0x15][CPUID_EAX] = 1;
		table->basic[0x15][CPUID_EBX] = 1U << shift;
		table->basic[0x15][CPUID_ECX] = (uint32_t)crystal;
		table->basic[0x16][CPUID_EAX] = (uint32_t)((tsc_hz + 500000) / 1000000) & 0xffff;
		table->basic[0x16][CPUID_EBX] = table->basic[0x16][CPUID_EAX];
		table->basic[0x16][CPUID_ECX] = (uint32_t)((crystal + 500000) / 1000000) & 0xffff;
	}
	table->hypervisor[0x10][CPUID_EAX] = (uint32_t)(tsc_hz / 1000);
	table->hypervisor[0x10][CPUID_EBX] = (uint32_t)(crystal / 1000);
}

static void build_extended(struct cpuid_table *table, const struct cpuid_host *host, const struct cpuid_policy *policy, bool amd,
			   uint32_t max)
{
	/* Brand string; caches and TLBs, pure description. */
	static const uint8_t copied[] = { 2, 3, 4, 5, 6, 0x19, 0x1a };
	uint32_t linear = host->extended[8][CPUID_EAX] >> 8 & 0xff;

	for (unsigned i = 0; i < ARRAY_SIZE(copied); i++)
		memcpy(table->extended[copied[i]], host->extended[copied[i]], sizeof(table->extended[0]));
	if (amd) {
		memcpy(table->extended[0], host->extended[0], sizeof(table->extended[0]));
		table->extended[1][CPUID_EAX] = host->extended[1][CPUID_EAX];
		table->extended[1][CPUID_EBX] = host->extended[1][CPUID_EBX];
		table->extended[8][CPUID_ECX] = (table->vcpus - 1) | table->core_shift << 12;
	}
	table->extended[0][CPUID_EAX] = CPUID_EXTENDED_FIRST + max;
	/* An outer hypervisor's TSC is not a core's, which P-states and idle states could slow or stop: QEMU's own emulation never offers the bit. */
	if (host->extended[7][CPUID_EDX] & BIT(CPUID_E7_INVARIANT_TSC) || host->basic[1][CPUID_ECX] & BIT(CPUID_1_HYPERVISOR))
		table->extended[7][CPUID_EDX] = BIT(CPUID_E7_INVARIANT_TSC);
	table->extended[8][CPUID_EAX] = policy->phys_bits | (linear && linear < 48 ? linear : 48) << 8;
}

static void build_hypervisor(struct cpuid_table *table)
{
	memcpy(&table->hypervisor[0][CPUID_EBX], "LaminaLamina", 12);
	table->hypervisor[0][CPUID_EAX] = CPUID_HYPERVISOR_FIRST + CPUID_HYPERVISOR_LEAVES - 1;
}

void cpuid_build(struct cpuid_table *table, const struct cpuid_host *host, const struct cpuid_policy *policy)
{
	bool amd = is_amd(host);
	uint32_t max_basic = INTEL_MAX_BASIC, max_extended = INTEL_MAX_EXTENDED;
	uint32_t host_extended = host->extended[0][CPUID_EAX] - CPUID_EXTENDED_FIRST;
	uint32_t have = policy->granted & 0xff;

	memset(table, 0, sizeof(*table));
	table->vcpus = policy->vcpus;
	while (1U << table->core_shift < policy->vcpus)
		table->core_shift++;
	table->xcr0 = guest_xcr0(host, policy);

	if (!table->xcr0)
		have &= ~(uint32_t)(NEED_XSAVE | NEED_XSAVES);
	have |= (table->xcr0 & XCR0_AVX) ? NEED_AVX : 0;
	have |= (table->xcr0 & XCR0_AVX512) ? NEED_AVX512 : 0;
	have |= policy->vcpus > 1 ? NEED_SMP : 0;

	if (amd) {
		max_basic = table->xcr0 ? 0xd : have & NEED_X2APIC ? 0xb : 7;
		if (host_extended < CPUID_EXTENDED_LEAVES && host_extended > max_extended)
			max_extended = host_extended;
		else if (host_extended >= CPUID_EXTENDED_LEAVES && host_extended < 0x10000)
			max_extended = CPUID_EXTENDED_LEAVES - 1;
	}
	table->topology = max_basic >= 0xb;
	build_basic(table, host, max_basic);
	build_extended(table, host, policy, amd, max_extended);
	apply_features(table, host, have);
	if (!policy->nested_paging)
		table->extended[1][CPUID_EDX] |= BIT(CPUID_E1_PAGE1GB); /* the shadow MMU has 1 GiB pages whatever the host has */
	if (table->structured[1][CPUID_EAX] | table->structured[1][CPUID_EDX])
		table->structured[0][CPUID_EAX] = 1;
	if (table->xcr0)
		build_xsave(table, host);
	build_caches(table, host);
	build_time(table, policy->tsc_hz, amd);
	build_hypervisor(table);

	if (!amd) {
		memcpy(table->out_of_range, table->basic[max_basic], sizeof(table->out_of_range));
		for (unsigned leaf = max_basic + 1; leaf < CPUID_BASIC_LEAVES; leaf++)
			memcpy(table->basic[leaf], table->out_of_range, sizeof(table->out_of_range));
		for (unsigned i = max_extended + 1; i < CPUID_EXTENDED_LEAVES; i++)
			memcpy(table->extended[i], table->out_of_range, sizeof(table->out_of_range));
	} else {
		for (unsigned i = max_extended + 1; i < CPUID_EXTENDED_LEAVES; i++)
			memset(table->extended[i], 0, sizeof(table->extended[i]));
	}
}

static const uint32_t zeros[4];

static void copy_row(uint32_t out[4], const uint32_t row[4])
{
	out[0] = row[0];
	out[1] = row[1];
	out[2] = row[2];
	out[3] = row[3];
}

static void lookup_topology(const struct cpuid_table *table, const struct cpuid_state *state, uint32_t subleaf, uint32_t out[4])
{
	if (!table->topology)
		return;
	if (subleaf == 0) { /* threads of a core */
		out[CPUID_EBX] = 1;
		out[CPUID_ECX] = 1 << 8;
	} else if (subleaf == 1) { /* cores of the package */
		out[CPUID_EAX] = table->core_shift;
		out[CPUID_EBX] = table->vcpus;
		out[CPUID_ECX] = 2 << 8 | 1;
	} else {
		out[CPUID_ECX] = subleaf & 0xff;
	}
	out[CPUID_EDX] = state->apic_id;
}

static void lookup_xsave(const struct cpuid_table *table, const struct cpuid_state *state, uint32_t subleaf, uint32_t out[4])
{
	if (!table->xcr0)
		return;
	copy_row(out, subleaf < CPUID_XSAVE ? table->xsave[subleaf] : zeros);
	if (subleaf == 0)
		out[CPUID_EBX] = xsave_size(table, state->xcr0, false);
	else if (subleaf == 1 && (out[CPUID_EAX] & (BIT(CPUID_D_1_XSAVEC) | BIT(CPUID_D_1_XSAVES))))
		out[CPUID_EBX] = xsave_size(table, state->xcr0 | state->xss, true);
}

/* The basic leaves that have subleaves or follow the vCPU's state; out[] holds the table's row. */
#define DYNAMIC_LEAVES (BIT(1) | BIT(4) | BIT(7) | BIT(0xb) | BIT(0xd))

static void lookup_dynamic(const struct cpuid_table *table, const struct cpuid_state *state, uint32_t leaf, uint32_t subleaf,
			   uint32_t out[4])
{
	switch (leaf) {
	case 1:
		out[CPUID_EBX] |= state->apic_id << 24;
		if (state->cr4 & CR4_OSXSAVE)
			out[CPUID_ECX] |= BIT(CPUID_1_OSXSAVE);
		break;
	case 4:
		copy_row(out, subleaf < CPUID_CACHES ? table->caches[subleaf] : zeros);
		break;
	case 7:
		copy_row(out, subleaf < CPUID_STRUCTURED ? table->structured[subleaf] : zeros);
		if (subleaf == 0 && (state->cr4 & CR4_PKE))
			out[CPUID_ECX] |= BIT(CPUID_7_OSPKE);
		break;
	case 0xb:
		lookup_topology(table, state, subleaf, out);
		break;
	case 0xd:
		lookup_xsave(table, state, subleaf, out);
		break;
	}
}

static const uint32_t *static_row(const struct cpuid_table *table, uint32_t leaf)
{
	if (leaf < CPUID_BASIC_LEAVES)
		return table->basic[leaf];
	if (leaf - CPUID_EXTENDED_FIRST < CPUID_EXTENDED_LEAVES)
		return table->extended[leaf - CPUID_EXTENDED_FIRST];
	if (leaf >> 28 != CPUID_HYPERVISOR_FIRST >> 28)
		return table->out_of_range;
	leaf -= CPUID_HYPERVISOR_FIRST;
	return leaf < CPUID_HYPERVISOR_LEAVES ? table->hypervisor[leaf] : zeros;
}

const uint32_t *cpuid_row(const struct cpuid_table *table, uint32_t leaf)
{
	if (leaf < CPUID_BASIC_LEAVES && DYNAMIC_LEAVES >> leaf & 1)
		return NULL;
	return static_row(table, leaf);
}

void cpuid_lookup(const struct cpuid_table *table, const struct cpuid_state *state, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	copy_row(out, static_row(table, leaf));
	if (leaf < CPUID_BASIC_LEAVES && DYNAMIC_LEAVES >> leaf & 1)
		lookup_dynamic(table, state, leaf, subleaf, out);
}

uint64_t cpuid_cr4(const struct cpuid_table *table)
{
	static const struct {
		uint8_t structured, reg, feature;
		uint32_t cr4;
	} bits[] = {
		{ 0, CPUID_ECX, CPUID_1_PCID, CR4_PCIDE },
		{ 0, CPUID_ECX, CPUID_1_XSAVE, CR4_OSXSAVE },
		{ 1, CPUID_EBX, CPUID_7_FSGSBASE, CR4_FSGSBASE },
		{ 1, CPUID_EBX, CPUID_7_SMEP, CR4_SMEP },
		{ 1, CPUID_EBX, CPUID_7_SMAP, CR4_SMAP },
		{ 1, CPUID_ECX, CPUID_7_UMIP, CR4_UMIP },
	};
	uint64_t cr4 = CR4_ALWAYS;

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		if ((bits[i].structured ? table->structured[0] : table->basic[1])[bits[i].reg] >> bits[i].feature & 1)
			cr4 |= bits[i].cr4;
	return cr4;
}

bool cpuid_xcr0_valid(const struct cpuid_table *table, uint64_t value)
{
	if ((value & ~table->xcr0) || !(value & XCR0_X87))
		return false;
	if ((value & XCR0_AVX) && !(value & XCR0_SSE))
		return false;
	if ((value & XCR0_AVX512) && ((value & XCR0_AVX512) != XCR0_AVX512 || !(value & XCR0_AVX)))
		return false;
	return true;
}
