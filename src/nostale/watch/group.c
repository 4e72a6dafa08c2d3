/* Rows of numbers that are alike, put into groups in order of their first. alike.py calls it, and does the same. */
#include <stdint.h>
#include <string.h>

/*
 * keys: rows of `width` numbers, of which n at `rows` are asked for. table: `size` entries, a power of 2 above n, all
 * zero. group: of each of these its group; first: of each group the first of them. Returns how many groups there are.
 */
int64_t nostale_group(const int64_t *keys, const int64_t *rows, int64_t n, int64_t width, int32_t *table, int64_t size,
		      int32_t *group, int32_t *first)
{
	int64_t groups = 0;

	for (int64_t i = 0; i < n; i++) {
		const int64_t *key = keys + rows[i] * width;
		uint64_t hash = 0;

		for (int64_t k = 0; k < width; k++) {
			hash = (hash ^ (uint64_t)key[k]) * 0x9E3779B97F4A7C15ull;
			hash ^= hash >> 29;
		}
		int64_t at = (int64_t)(hash & (uint64_t)(size - 1));

		while (table[at] && memcmp(keys + rows[first[table[at] - 1]] * width, key, (size_t)width * 8))
			at = (at + 1) & (size - 1);
		if (!table[at]) {
			first[groups] = (int32_t)i;
			table[at] = (int32_t)++groups;
		}
		group[i] = table[at] - 1;
	}
	return groups;
}
