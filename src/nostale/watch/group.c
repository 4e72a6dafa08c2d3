/* Rows of numbers that are alike, put into groups in order of their first. alike.py calls it, and does the same. */
#include <stdint.h>
#include <string.h>

/*
 * keys: n rows of `width` numbers. table: `size` entries, a power of 2 above n, all zero. group: of each row its group;
 * first: of each group its first row. Returns how many groups there are.
 */
int64_t nostale_group(const int64_t *keys, int64_t n, int64_t width, int32_t *table, int64_t size, int32_t *group,
		      int32_t *first)
{
	int64_t groups = 0;

	for (int64_t row = 0; row < n; row++) {
		const int64_t *key = keys + row * width;
		uint64_t hash = 0;

		for (int64_t i = 0; i < width; i++) {
			hash = (hash ^ (uint64_t)key[i]) * 0x9E3779B97F4A7C15ull;
			hash ^= hash >> 29;
		}
		int64_t at = (int64_t)(hash & (uint64_t)(size - 1));

		while (table[at] && memcmp(keys + (int64_t)first[table[at] - 1] * width, key, (size_t)width * 8))
			at = (at + 1) & (size - 1);
		if (!table[at]) {
			first[groups] = (int32_t)row;
			table[at] = (int32_t)++groups;
		}
		group[row] = table[at] - 1;
	}
	return groups;
}
