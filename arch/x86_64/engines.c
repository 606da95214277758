#include "arch/x86_64/engines.h"

#include "arch/x86_64/features.h"
#include "arch/x86_64/svm/engine_svm.h"
#include "arch/x86_64/vmx/engine_vmx.h"
#include "lib/printf.h"

static const struct backend {
	const struct engine *engine;
	bool (*present)(void);
	const char *(*probe)(void);
	const char *(*cpu_enable)(void);
	void (*cpu_disable)(void);
} backends[] = {
	{ &engine_vmx, vmx_present, vmx_probe, vmx_cpu_enable, vmx_cpu_disable },
	{ &engine_svm, svm_present, svm_probe, svm_cpu_enable, svm_cpu_disable },
};

static const struct backend *chosen;

const struct engine *engines_choose(const char **why)
{
	static char none[200];

	snprintf(none, sizeof(none), "this CPU (%s%s%s) has neither VT-x nor AMD-V, and Lamina needs one of them to run guests",
		 cpu_features.vendor, cpu_features.brand[0] ? ", " : "", cpu_features.brand);
	*why = none;
	for (unsigned i = 0; i < ARRAY_SIZE(backends); i++) {
		const char *problem;

		if (!backends[i].present())
			continue;
		problem = backends[i].probe();
		if (!problem) {
			chosen = &backends[i];
			return chosen->engine;
		}
		*why = problem;
	}
	return NULL;
}

const char *engines_cpu_enable(void)
{
	return chosen->cpu_enable();
}

void engines_cpu_disable(void)
{
	chosen->cpu_disable();
}
