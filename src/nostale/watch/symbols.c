/*
 * The functions of a copy of /proc/kallsyms. symbols.py calls it, and says the same in numpy.
 *
 * Source: kernel/kallsyms.c, s_show(), v6.12.
 */
#include <stdint.h>
#include <string.h>

enum { DIGITS = 16, TYPE = DIGITS + 1, NAME = DIGITS + 3 };

/* Whether 16 bytes are hex digits; their value. */
static int address_of(const uint8_t *digits, uint64_t *value)
{
	*value = 0;
	for (int i = 0; i < DIGITS; i++) {
		uint32_t digit = (uint32_t)digits[i] - '0', letter = (digits[i] | 32u) - 'a';

		if (digit > 9 && letter > 5)
			return 0;
		*value = *value << 4 | (digit <= 9 ? digit : letter + 10);
	}
	return 1;
}

/* Find the lines of functions: how many, their addresses, and where they begin. There is room for one every 21 bytes. */
int64_t nostale_symbols(const uint8_t *text, int64_t size, uint64_t *address, int64_t *start)
{
	int64_t n = 0;

	for (int64_t at = 0; size - at > NAME;) {
		const uint8_t *line = text + at, *end = memchr(line, '\n', (size_t)(size - at));
		int64_t length = end ? end - line : size - at;

		if (length > NAME && line[DIGITS] == ' ' && line[TYPE] && strchr("tTwWuU", line[TYPE]) &&
		    line[TYPE + 1] == ' ' && line[NAME] > ' ' && address_of(line, address + n))
			start[n++] = at;
		at += length + 1;
	}
	return n;
}
