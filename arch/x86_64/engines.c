/* The engines of this build, and the set of them that this machine can use. */
#include "arch/x86_64/engines.h"

#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/engine_svm.h"
#include "arch/x86_64/vmx/engine_vmx.h"
#include "lib/printf.h"
#include "vmm/config/monitor_mode.h"

static const struct backend {
	const struct engine *engine;
	bool (*present)(void);
	const char *(*probe)(void);
} backends[] = {
	{ &engine_vmx, vmx_present, vmx_probe },
	{ &engine_svm, svm_present, svm_probe },
};
_Static_assert(ARRAY_SIZE(backends) <= ENGINES_MAX, "a set has room for all of them");

static struct engine_set found;
static const char *why_none;

const struct engine_set *engines_find(void)
{
	static char none[200];

	snprintf(none, sizeof(none), "this CPU (%s%s%s) has neither VT-x nor AMD-V, and Lamina needs one of them to run guests",
		 cpu_features.vendor, cpu_features.brand[0] ? ", " : "", cpu_features.brand);
	why_none = none;
	for (unsigned i = 0; i < ARRAY_SIZE(backends); i++) {
		const char *problem;

		if (!backends[i].present())
			continue;
		problem = backends[i].probe();
		if (problem)
			why_none = problem;
		else
			found.engine[found.count++] = backends[i].engine;
	}
	return &found;
}

const char *engines_why_none(void)
{
	return why_none;
}

void engines_monitor_caps(struct monitor_caps *caps)
{
	*caps = (struct monitor_caps){ .long_mode = true };
	for (unsigned i = 0; i < found.count; i++) {
		caps->build |= found.engine[i]->modes;
		found.engine[i]->monitor_caps(caps);
	}
}

const char *engines_cpu_enable(void)
{
	const char *problem = NULL;

	for (unsigned i = 0; i < found.count && !problem; i++)
		if (found.engine[i]->cpu_enable)
			problem = found.engine[i]->cpu_enable();
	return problem;
}

const char *engines_cpu_mode(void)
{
	const char *mode = NULL;

	for (unsigned i = 0; i < found.count && !mode; i++)
		mode = found.engine[i]->cpu_mode;
	return mode;
}
