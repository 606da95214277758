/* The parser of the text behind `serial=`. */
#include "drivers/console/serial_settings.h"

#include "lib/string.h"
#include "lib/x86/paging.h"

static const struct {
	uint16_t port;
	uint8_t irq;
} com_ports[] = { { SERIAL_COM1, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 } };

int serial_port_irq(uint16_t port)
{
	for (unsigned i = 0; i < ARRAY_SIZE(com_ports); i++)
		if (com_ports[i].port == port)
			return com_ports[i].irq;
	return -1;
}

void serial_settings_default(struct serial_settings *settings)
{
	*settings = (struct serial_settings){ .where = SERIAL_AUTO, .stride = 1, .line = { 115200, 8, 'n', 1 } };
}

/* A number of the base, which must have a digit and end at ',', ':' or the end. Returns where, or NULL. */
static const char *number(const char *text, unsigned base, uint64_t *value)
{
	const char *p = text;

	for (*value = 0; *p && *p != ',' && *p != ':'; p++) {
		unsigned digit = *p >= '0' && *p <= '9' ? (unsigned)(*p - '0') : (*p | 32) >= 'a' && (*p | 32) <= 'f' ? (*p | 32) - 'a' + 10U : 16;

		if (digit >= base || *value > (UINT64_MAX - digit) / base)
			return NULL;
		*value = *value * base + digit;
	}
	return p == text ? NULL : p;
}

static const char *skip(const char *text, const char *word)
{
	size_t length = strlen(word);

	return strncmp(text, word, length) ? NULL : text + length;
}

/* A word that ends at ',' or the end. */
static const char *word(const char *text, const char *expected)
{
	const char *end = skip(text, expected);

	return end && (!*end || *end == ',') ? end : NULL;
}

static const char *parse_where(struct serial_settings *s, const char *text)
{
	const char *end;

	if ((end = word(text, "auto")))
		return end;
	if ((end = word(text, "off"))) {
		s->where = SERIAL_OFF;
		return end;
	}
	if ((end = word(text, "pci"))) {
		s->where = SERIAL_PCI;
		return end;
	}
	if ((end = skip(text, "com")) && end[0] >= '1' && end[0] <= '4' && (!end[1] || end[1] == ',')) {
		s->where = SERIAL_PORT;
		s->address = com_ports[end[0] - '1'].port;
		return end + 1;
	}
	if ((end = skip(text, "0x"))) {
		s->where = SERIAL_PORT;
		end = number(end, 16, &s->address);
		return end && s->address && s->address <= 0xffff - SERIAL_REGISTERS + 1 ? end : NULL;
	}
	s->where = SERIAL_MMIO;
	if ((end = skip(text, "mmio:0x")))
		s->stride = 1;
	else if ((end = skip(text, "mmio32:0x")))
		s->stride = 4;
	else
		return NULL;
	end = number(end, 16, &s->address);
	return end && s->address && s->address <= PHYS_LIMIT - PAGE_SIZE && s->address % s->stride == 0 ? end : NULL;
}

static bool parse_format(struct serial_line *line, const char *text)
{
	char parity = '\0';

	if (text[0])
		parity = text[1];
	if (parity >= 'A' && parity <= 'Z')
		parity = (char)(parity - 'A' + 'a');

	if (text[0] < '5' || text[0] > '8' || (parity != 'n' && parity != 'e' && parity != 'o') || (text[2] != '1' && text[2] != '2') || text[3])
		return false;
	line->data_bits = (uint8_t)(text[0] - '0');
	line->parity = parity;
	line->stop_bits = (uint8_t)(text[2] - '0');
	return true;
}

const char *serial_settings_parse(struct serial_settings *settings, const char *text)
{
	const char *wrong = NULL;
	uint64_t baud;

	serial_settings_default(settings);
	text = parse_where(settings, text);
	if (!text || (*text && *text != ',')) {
		wrong = "expected auto, off, com1 to com4, a port such as 0x3f8, pci, mmio:0xADDRESS or mmio32:0xADDRESS";
	} else if (*text) {
		text = number(text + 1, 10, &baud);
		if (!text || (*text && *text != ',') || !baud || baud > SERIAL_CLOCK || SERIAL_CLOCK % baud)
			wrong = "expected a speed after the comma that divides 115200, such as 115200 or 9600";
		else if (*text && !parse_format(&settings->line, text + 1))
			wrong = "expected data bits, parity and stop bits after the speed, such as 8n1";
		else
			settings->line.baud = (uint32_t)baud;
	}
	if (wrong)
		serial_settings_default(settings);
	return wrong;
}
