/* What devices ask of the VM around them, and what vCPUs ask of its devices. */
#include "vmm/interface/platform.h"

#include "drivers/console/console.h"
#include "vmm/interface/core.h"
#include "vmm/sched/sched.h"
#include "vmm/vcpu/pending.h"
#include "vmm/vcpu/vcpu.h"
#include "vmm/vm/console_router.h"
#include "vmm/vm/vm.h"
#include "vmm/vm/vm_services.h"

void vm_irq_set(struct vm *vm, unsigned gsi, bool level)
{
	spin_lock(&vm->irq_lock);
	if (gsi < 16)
		pic_set_irq(&vm->pic, gsi, level);
	ioapic_set_irq(&vm->ioapic, gsi == 0 ? 2 : gsi, level); /* the MADT's override of IRQ 0 */
	spin_unlock(&vm->irq_lock);
}

void vm_msi_send(struct vm *vm, uint64_t address, uint32_t data)
{
	const struct apic_message msg = {
		.destination = address >> 12 & 0xff,
		.vector = (uint8_t)data,
		.delivery_mode = data >> 8 & 7,
		.logical = address & BIT(2),
		.level = data & BIT(15),
		.assert = true,
	};

	/* Only a write to the local APICs' addresses is an interrupt; a device's other writes go to memory that is not there. */
	if (address >> 20 == 0xfee)
		vm_apic_message(vm, &msg);
}

void vm_apic_message(struct vm *vm, const struct apic_message *msg)
{
	lapic_route(vm->lapics.lapic, vm->lapics.count, msg, NULL);
}

void vm_pic_output(struct vm *vm, bool level)
{
	__atomic_store_n(&vm->pic_output, level, __ATOMIC_RELAXED);
	if (level)
		vcpu_notify(vm->vcpu[0], PENDING_EVALUATE);
}

void vm_ioapic_eoi(struct vm *vm, uint8_t vector)
{
	spin_lock(&vm->irq_lock);
	ioapic_eoi(&vm->ioapic, vector);
	spin_unlock(&vm->irq_lock);
}

void vm_cpu_event(struct vm *vm, unsigned cpu, enum cpu_event event, uint8_t vector)
{
	struct vcpu *v = vm->vcpu[cpu];

	switch (event) {
	case CPU_EVENT_NMI:
		vcpu_post_nmi(v);
		break;
	case CPU_EVENT_INIT:
		vcpu_notify(v, PENDING_INIT);
		break;
	case CPU_EVENT_SIPI:
		v->sipi_vector = vector;
		vcpu_notify(v, PENDING_SIPI);
		break;
	case CPU_EVENT_EXTINT:
		vcpu_notify(v, PENDING_EVALUATE);
		break;
	}
}

void vm_cpu_kick(struct vm *vm, unsigned cpu)
{
	vcpu_notify(vm->vcpu[cpu], PENDING_POSTED);
}

bool vm_guest_waits(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (vm->vcpu[i]->state == VCPU_RUNNING)
			return false;
	return true;
}

bool vm_console_put(struct vm *vm, uint8_t byte)
{
	bool room = console_put_guest(byte, time_now());

	(void)vm;
	core_timer_by(console_due[core_index() != 0]);
	return room;
}

void vm_console_input(struct vm *vm)
{
	uint8_t byte;

	while (uart_can_receive(&vm->uart) && console_input_take(vm->handle, &byte))
		uart_receive(&vm->uart, byte);
	/* The UART is full: offer the rest when the guest has had time to read. */
	if (console_input_waiting(vm->handle))
		vtimer_set(&vm->input_timer, time_now() + time_hz() / 2000);
}

uint8_t vm_pic_acknowledge(struct vm *vm)
{
	int vector;

	spin_lock(&vm->irq_lock);
	vector = pic_acknowledge(&vm->pic);
	spin_unlock(&vm->irq_lock);
	return (uint8_t)vector;
}
