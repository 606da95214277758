/* The formatter behind snprintf: it counts every character of the text and stores as many as the buffer has room for. */
#include "lib/printf.h"

#include "lib/string.h"

struct out {
	char *buf;
	size_t size;
	size_t len; /* what the whole text needs so far */
};

struct spec {
	bool left, zero;
	int width, precision;
	unsigned longs;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_padded(struct out *o, const struct spec *s, const char *text, size_t n, bool number)
{
	size_t pad = s->width > 0 && (size_t)s->width > n ? (size_t)s->width - n : 0;
	bool zeros = s->zero && !s->left && number;

	if (zeros && n && *text == '-') {
		put(o, *text++);
		n--;
	}
	for (; pad && !s->left; pad--)
		put(o, zeros ? '0' : ' ');
	while (n--)
		put(o, *text++);
	while (pad--)
		put(o, ' ');
}

static void put_number(struct out *o, const struct spec *s, uint64_t value, unsigned base, bool negative, bool upper)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char text[24];
	char *p = text + sizeof(text);

	do {
		*--p = digits[value % base];
		value /= base;
	} while (value);
	if (negative)
		*--p = '-';
	put_padded(o, s, p, (size_t)(text + sizeof(text) - p), true);
}

static const char *parse_spec(const char *f, struct spec *s, va_list *args)
{
	*s = (struct spec){ .precision = -1 };
	for (;; f++) {
		if (*f == '-')
			s->left = true;
		else if (*f == '0')
			s->zero = true;
		else
			break;
	}
	if (*f == '*') {
		s->width = va_arg(*args, int);
		f++;
	}
	for (; *f >= '0' && *f <= '9'; f++)
		s->width = s->width * 10 + (*f - '0');
	if (*f == '.') {
		s->precision = 0;
		if (*++f == '*') {
			s->precision = va_arg(*args, int);
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			s->precision = s->precision * 10 + (*f - '0');
	}
	for (; *f == 'l' || *f == 'z'; f++)
		s->longs++;
	return f;
}

static void convert(struct out *o, const struct spec *s, char conversion, va_list *args)
{
	const char *text;
	int64_t i;
	char c;

	switch (conversion) {
	case 'd':
	case 'i':
		i = s->longs ? va_arg(*args, int64_t) : va_arg(*args, int);
		put_number(o, s, i < 0 ? -(uint64_t)i : (uint64_t)i, 10, i < 0, false);
		break;
	case 'u':
	case 'x':
	case 'X':
		put_number(o, s, s->longs ? va_arg(*args, uint64_t) : va_arg(*args, unsigned),
			   conversion == 'u' ? 10 : 16, false, conversion == 'X');
		break;
	case 'p':
		put(o, '0');
		put(o, 'x');
		put_number(o, s, (uintptr_t)va_arg(*args, void *), 16, false, false);
		break;
	case 'c':
		c = (char)va_arg(*args, int);
		put_padded(o, s, &c, 1, false);
		break;
	case 's':
		text = va_arg(*args, const char *);
		if (!text)
			text = "(null)";
		put_padded(o, s, text, s->precision >= 0 ? strnlen(text, (size_t)s->precision) : strlen(text), false);
		break;
	default:
		put(o, conversion);
	}
}

int vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
{
	struct out o = { buf, size, 0 };
	struct spec spec;
	va_list copy;

	va_copy(copy, args);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		fmt = parse_spec(fmt + 1, &spec, &copy);
		if (!*fmt)
			break;
		convert(&o, &spec, *fmt, &copy);
	}
	va_end(copy);
	if (size)
		buf[MIN(o.len, size - 1)] = 0;
	return (int)o.len;
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(buf, size, fmt, args);
	va_end(args);
	return n;
}
