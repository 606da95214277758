/* A VM's vCPUs: made, and placed on the machine's cores. */
#include "lib/log.h"
#include "vmm/interface/core.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/vm_parts.h"
#include "vmm/vm/vm_services.h"

static unsigned next_core;
static uint16_t next_tag = 1;

int vm_vcpus_make(struct vm *vm, const struct vm_resources *resources)
{
	uint32_t without = vm->shadow ? CPUID_GRANT_PCID | CPUID_GRANT_INVPCID : 0;
	const struct cpuid_policy policy = {
		.vcpus = vm->config.numvcpus,
		.tsc_hz = time_hz(),
		.granted = (vm->engine->granted() & ~without) | CPUID_GRANT_X2APIC | CPUID_GRANT_TSC_DEADLINE,
		.phys_bits = (uint8_t)(resources->cpuid->extended[8][CPUID_EAX] & 0xff),
		.nested_paging = !vm->shadow,
	};
	int err;

	vm->engine_vm = (struct engine_vm){
		.vm = vm,
		.nested = &vm->nested,
		.shadow = vm->shadow != NULL,
		.first_tag = next_tag,
	};
	next_tag = (uint16_t)(next_tag + vm->config.numvcpus);
	cpuid_build(&vm->cpuid, resources->cpuid, &policy);
	err = vm->engine->vm_create(&vm->engine_vm);
	for (unsigned i = 0; i < vm->config.numvcpus && !err; i++) {
		struct vcpu *v = vm_alloc(vm, sizeof(*v));

		if (!v)
			return ERR_NOMEM;
		vm->vcpu[vm->vcpu_count++] = v; /* before it makes its timers */
		err = vcpu_create(v, vm, i);
	}
	return err;
}

void vm_vcpus_plan(struct arena_plan *plan, const struct vm_config *config, const struct engine *engine, bool shadow)
{
	engine->plan_vm(plan, shadow);
	for (unsigned i = 0; i < config->numvcpus; i++) {
		arena_plan_alloc(plan, sizeof(struct vcpu));
		vcpu_plan(plan, engine, shadow);
	}
}

int vm_vcpus_place(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		unsigned core = next_core++ % core_count();

		vm->vcpu[i]->slot = sched_add_vcpu(vm->handle, vm->vcpu[i], core);
		if (!vm->vcpu[i]->slot) {
			log_line("vm %s: too many vCPUs for core %u", vm->config.name, core);
			return ERR_NOMEM;
		}
		log_line("vm %s: vcpu %u on core %u", vm->config.name, i, core);
	}
	return 0;
}

struct vcpu *vm_vcpu(const struct vm *vm, unsigned index)
{
	return vm->vcpu[index];
}
