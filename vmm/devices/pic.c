/* One 8259A's priorities, acknowledgement and command words, and the wiring of the two chips of a PC. */
#include "vmm/devices/pic.h"

#include "lib/string.h"
#include "lib/x86/pc.h"
#include "vmm/interface/platform.h"

#define CASCADE 2
#define SPURIOUS 7

#define ICW1_INIT 0x10
#define ICW1_SNGL 0x02
#define ICW1_IC4 0x01
#define ICW4_SFNM 0x10
#define ICW4_AEOI 0x02
#define OCW3 0x08
#define OCW3_ESMM 0x40
#define OCW3_SMM 0x20
#define OCW3_POLL 0x04
#define OCW3_RR 0x02
#define OCW3_RIS 0x01

/* Inputs 0, 1, 2, 8 and 13 are the board's own and always edge-triggered (PIIX4, ELCR1 and ELCR2). */
#define ELCR_MASTER 0xf8
#define ELCR_SLAVE 0xde

/* How far the most urgent of the inputs in `mask` (not empty) is from the highest priority: 0..7. */
static unsigned rank_of(const struct i8259 *chip, unsigned mask)
{
	unsigned first = (chip->lowest + 1U) & 7;

	return (unsigned)__builtin_ctz((mask | mask << 8) >> first);
}

static unsigned input_of(const struct i8259 *chip, unsigned rank)
{
	return (rank + chip->lowest + 1U) & 7;
}

/* The input that the chip requests service for, or -1. */
static int chip_request(const struct i8259 *chip)
{
	unsigned pending = chip->irr & ~(unsigned)chip->imr;
	unsigned blocking = chip->isr;
	unsigned rank;
	unsigned input;

	if (!pending || chip->next_icw)
		return -1;
	rank = rank_of(chip, pending);
	input = input_of(chip, rank);
	if (chip->special_mask)
		blocking &= ~(unsigned)chip->imr;
	if (blocking) {
		unsigned in_service = rank_of(chip, blocking);

		/* Special fully nested: a slave in service may interrupt itself; it has sorted its own priorities. */
		if (rank > in_service || (rank == in_service && !(chip->special_nested && input == CASCADE)))
			return -1;
	}
	return (int)input;
}

/* Acknowledge the chip's request: the input, or SPURIOUS, which leaves no trace in ISR, where none is left. */
static unsigned chip_acknowledge(struct i8259 *chip)
{
	int input = chip_request(chip);
	unsigned bit;

	if (input < 0)
		return SPURIOUS;
	bit = 1U << input;
	if (!(chip->elcr & bit))
		chip->irr &= (uint8_t)~bit;
	if (!chip->auto_eoi)
		chip->isr |= (uint8_t)bit;
	else if (chip->rotate_aeoi)
		chip->lowest = (uint8_t)input;
	return (unsigned)input;
}

static void update_master(struct pic *pic)
{
	bool output = chip_request(&pic->master) >= 0;

	if (output != pic->output) {
		pic->output = output;
		vm_pic_output(pic->vm, output);
	}
}

/* The slave's output is the master's input 2. Taking it as a level spares guests the spurious interrupt 15 when they mask a
 * request at the slave, and a lost one when they initialize the master last. */
static void update(struct pic *pic)
{
	if (chip_request(&pic->slave) >= 0)
		pic->master.irr |= 1U << CASCADE;
	else
		pic->master.irr &= (uint8_t)~(1U << CASCADE);
	update_master(pic);
}

void pic_set_irq(struct pic *pic, unsigned irq, bool level)
{
	struct i8259 *chip = irq < 8 ? &pic->master : &pic->slave;
	uint8_t bit = (uint8_t)(1U << (irq & 7));

	if (irq >= 16 || irq == CASCADE || level == ((chip->lines & bit) != 0))
		return;
	chip->lines ^= bit;
	if (level)
		chip->irr |= bit;
	else
		chip->irr &= (uint8_t)~bit; /* an edge's line must stay high until it is acknowledged (8259A data sheet, "IR inputs") */
	update(pic);
}

int pic_acknowledge(struct pic *pic)
{
	unsigned input = chip_acknowledge(&pic->master);
	int vector = (int)(pic->master.vector + input);

	if (input == CASCADE)
		vector = (int)(pic->slave.vector + chip_acknowledge(&pic->slave));
	update(pic);
	return vector;
}

static void write_icw1(struct i8259 *chip, uint8_t value)
{
	/* LTIM is not looked at: ELCR decides for each input (PIIX4, ICW1). */
	chip->irr &= chip->elcr;
	chip->isr = 0;
	chip->imr = 0;
	chip->lowest = 7;
	chip->auto_eoi = false;
	chip->rotate_aeoi = false;
	chip->special_nested = false;
	chip->special_mask = false;
	chip->poll = false;
	chip->read_isr = false;
	chip->single = value & ICW1_SNGL;
	chip->wants_icw4 = value & ICW1_IC4;
	chip->next_icw = 2;
}

static void end_of_interrupt(struct i8259 *chip, bool specific, unsigned input, bool rotate)
{
	if (!specific) {
		/* In special mask mode a masked input's ISR bit is out of the reach of a non-specific EOI. */
		unsigned candidates = chip->special_mask ? chip->isr & ~(unsigned)chip->imr : chip->isr;

		if (!candidates)
			return;
		input = input_of(chip, rank_of(chip, candidates));
	}
	chip->isr &= (uint8_t)~(1U << input);
	if (rotate)
		chip->lowest = (uint8_t)input;
}

/* OCW2: R, SL and EOI are bits 7 to 5, the input bits 2 to 0. */
static void write_ocw2(struct i8259 *chip, uint8_t value)
{
	unsigned input = value & 7;

	switch (value >> 5) {
	case 0:
		chip->rotate_aeoi = false;
		break;
	case 1:
		end_of_interrupt(chip, false, input, false);
		break;
	case 3:
		end_of_interrupt(chip, true, input, false);
		break;
	case 4:
		chip->rotate_aeoi = true;
		break;
	case 5:
		end_of_interrupt(chip, false, input, true);
		break;
	case 6:
		chip->lowest = (uint8_t)input;
		break;
	case 7:
		end_of_interrupt(chip, true, input, true);
		break;
	default: /* 2 is no operation */
		break;
	}
}

static void write_ocw3(struct i8259 *chip, uint8_t value)
{
	if (value & OCW3_ESMM)
		chip->special_mask = value & OCW3_SMM;
	if (value & OCW3_POLL)
		chip->poll = true;
	else if (value & OCW3_RR)
		chip->read_isr = value & OCW3_RIS;
}

static void write_icw(struct i8259 *chip, uint8_t value)
{
	/* ICW3 is the board's wiring (4 and 2), not a choice; ICW4's 8086 mode likewise. */
	switch (chip->next_icw) {
	case 2:
		chip->vector = value & 0xf8;
		chip->next_icw = chip->single ? 4 : 3;
		break;
	case 3:
		chip->next_icw = 4;
		break;
	default:
		chip->special_nested = chip->is_master && (value & ICW4_SFNM);
		chip->auto_eoi = value & ICW4_AEOI;
		chip->next_icw = 0;
		break;
	}
	if (chip->next_icw == 4 && !chip->wants_icw4)
		chip->next_icw = 0;
}

static void chip_write(struct i8259 *chip, uint64_t offset, uint8_t value)
{
	if (offset == 1 && chip->next_icw)
		write_icw(chip, value);
	else if (offset == 1)
		chip->imr = value;
	else if (value & ICW1_INIT)
		write_icw1(chip, value);
	else if (value & OCW3)
		write_ocw3(chip, value);
	else
		write_ocw2(chip, value);
}

static uint64_t chip_read(struct pic *pic, struct i8259 *chip, uint64_t offset)
{
	if (chip->poll) {
		unsigned answer = 0;

		chip->poll = false;
		if (chip_request(chip) >= 0) {
			answer = 0x80 | chip_acknowledge(chip);
			update(pic);
		}
		return answer;
	}
	if (offset == 1)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

static uint64_t master_read(void *dev, uint64_t offset, unsigned size)
{
	struct pic *pic = dev;

	return size == 1 ? chip_read(pic, &pic->master, offset) : UINT64_MAX;
}

static void master_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pic *pic = dev;

	if (size != 1)
		return;
	chip_write(&pic->master, offset, (uint8_t)value);
	/* A new mask, the frequent write, leaves the slave's request as it is; ICW1 would lose it. */
	if (offset == 1)
		update_master(pic);
	else
		update(pic);
}

static uint64_t slave_read(void *dev, uint64_t offset, unsigned size)
{
	struct pic *pic = dev;

	return size == 1 ? chip_read(pic, &pic->slave, offset) : UINT64_MAX;
}

static void slave_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pic *pic = dev;

	if (size != 1)
		return;
	chip_write(&pic->slave, offset, (uint8_t)value);
	update(pic);
}

static uint64_t elcr_read(void *dev, uint64_t offset, unsigned size)
{
	const struct pic *pic = dev;

	if (size != 1)
		return UINT64_MAX;
	return offset ? pic->slave.elcr : pic->master.elcr;
}

static void elcr_write(void *dev, uint64_t offset, unsigned size, uint64_t value)
{
	struct pic *pic = dev;
	struct i8259 *chip = offset ? &pic->slave : &pic->master;

	if (size != 1)
		return;
	chip->elcr = (uint8_t)value & chip->elcr_mask;
	chip->irr = (uint8_t)((chip->irr & ~chip->elcr) | (chip->lines & chip->elcr));
	update(pic);
}

static const struct io_ops master_ops = { .read = master_read, .write = master_write, .widest = 1 };
static const struct io_ops slave_ops = { .read = slave_read, .write = slave_write, .widest = 1 };
static const struct io_ops elcr_ops = { .read = elcr_read, .write = elcr_write, .widest = 1 };

static void power_on(struct pic *pic)
{
	memset(&pic->master, 0, sizeof(pic->master));
	memset(&pic->slave, 0, sizeof(pic->slave));
	pic->master.is_master = true;
	pic->master.elcr_mask = ELCR_MASTER;
	pic->slave.elcr_mask = ELCR_SLAVE;
	pic->master.imr = pic->slave.imr = 0xff;
	pic->master.lowest = pic->slave.lowest = 7;
}

int pic_init(struct pic *pic, struct vm *vm, struct io_space *pio, struct spinlock *irq_lock)
{
	int err;

	pic->vm = vm;
	pic->irq_lock = irq_lock;
	pic->output = false;
	power_on(pic);
	err = io_space_add(pio, PORT_PIC_MASTER, 2, &master_ops, pic, irq_lock);
	if (!err)
		err = io_space_add(pio, PORT_PIC_SLAVE, 2, &slave_ops, pic, irq_lock);
	if (!err)
		err = io_space_add(pio, 0x4d0, 2, &elcr_ops, pic, irq_lock);
	return err;
}

void pic_reset(struct pic *pic)
{
	spin_lock(pic->irq_lock);
	power_on(pic);
	update(pic);
	spin_unlock(pic->irq_lock);
}
