/* A VM's life: its start, the requests that end it or start it over, and what the last vCPU to park carries out. */
#include "lib/log.h"
#include "vmm/devices/acpi_tables.h"
#include "vmm/interface/core.h"
#include "vmm/mmu/virtual_mmu.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/console_router.h"
#include "vmm/vm/registry.h"
#include "vmm/vm/vm_parts.h"
#include "vmm/vm/vm_services.h"

void vm_request(struct vm *vm, enum vm_request what, const char *why)
{
	bool counts;

	spin_lock(&vm->request_lock);
	/* The first request counts, unless a later one says that the guest cannot go on. */
	counts = !vm->requested || (what == VM_REQUEST_STOP && vm->request != VM_REQUEST_STOP);
	if (counts) {
		vm->requested = true;
		vm->request = what;
		vm->request_why = why;
	}
	spin_unlock(&vm->request_lock);
	if (!counts)
		return;
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		vcpu_notify(vm->vcpu[i], PENDING_LEAVE);
}

int vm_start_guest(struct vm *vm)
{
	char error[LOADER_ERROR_SIZE];
	int err = acpi_tables_build(&vm->memory, vm->vcpu_count, &vm->files.rsdp);

	if (err) {
		log_line("vm %s: the ACPI tables do not fit: give it more memory", vm->config.name);
		return err;
	}
	err = loader_load(&vm->files, &vm->start, error);
	if (err) {
		log_line("vm %s: %s", vm->config.name, error);
		return err;
	}
	msr_reset(&vm->msr, vm->cpuid.extended[8][CPUID_EAX] & 0xff);
	vm->tsc_offset = -(int64_t)time_now();
	/* All vCPUs are parked: bits that were still pending for the old life are dropped. The boot processor comes last, so that its IPIs
	 * find the others' local APICs enabled. */
	for (unsigned i = vm->vcpu_count; i-- > 0;) {
		struct vcpu *v = vm->vcpu[i];

		lapic_reset(&v->lapic, i == 0);
		vcpu_restart(v);
	}
	return 0;
}

/* Disks and timers are quiet first: neither writes memory or raises an interrupt afterwards. */
static void reset_parts(struct vm *vm)
{
	vm_disks_quiet(vm);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		timer_queue_clear(&vm->vcpu[i]->timers);
	vm_devices_reset(vm);
	virtual_mmu_reset(vm);
}

/* A line for each kind of exit that occurred. */
static void print_statistics(struct vm *vm)
{
	uint64_t emulated = 0;

	for (unsigned kind = 0; kind < EXIT_KINDS; kind++) {
		uint64_t count = 0, ticks = 0;

		for (unsigned i = 0; i < vm->vcpu_count; i++) {
			count += vm->vcpu[i]->exit_count[kind];
			ticks += vm->vcpu[i]->exit_ticks[kind];
		}
		if (count)
			log_line("vm %s: exit %-26s count %-9lu ticks %lu", vm->config.name, vm_exit_name(kind), count, ticks);
	}
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		emulated += vm->vcpu[i]->emulated_instructions;
	vm_disks_print_statistics(vm);
	if (emulated)
		log_line("vm %s: %lu instructions emulated in real mode", vm->config.name, emulated);
}

static void end(struct vm *vm, const char *verb)
{
	vm_disks_quiet(vm);
	log_line("vm %s: %s (%s)", vm->config.name, verb, vm->request_why);
	print_statistics(vm);
	if (registry_end(vm->handle) == 0)
		core_power_off();
}

static void reset(struct vm *vm)
{
	log_line("vm %s: reset by the guest (%s)", vm->config.name, vm->request_why);
	vm->resets++;
	reset_parts(vm);
	vm->parked = 0;
	spin_lock(&vm->request_lock);
	vm->requested = false;
	spin_unlock(&vm->request_lock);
	if (vm_start_guest(vm))
		vm_request(vm, VM_REQUEST_STOP, "it could not be loaded again");
}

void vm_vcpu_parked(struct vm *vm, unsigned index)
{
	uint64_t all = UINT64_MAX >> (64 - vm->vcpu_count);
	uint64_t before = __atomic_fetch_or(&vm->parked, BIT(index), __ATOMIC_SEQ_CST);

	if (before & BIT(index) || (before | BIT(index)) != all)
		return;
	switch (vm->request) {
	case VM_REQUEST_RESET:
		reset(vm);
		break;
	case VM_REQUEST_POWER_OFF:
		end(vm, "powered off by the guest");
		break;
	case VM_REQUEST_STOP:
		vm_disks_quiet(vm);
		/* Lamina stays up, so that its log can be read and its other guests go on. */
		log_line("vm %s: stopped: %s", vm->config.name, vm->request_why);
		print_statistics(vm);
		registry_end(vm->handle);
		break;
	}
}
