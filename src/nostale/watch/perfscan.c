/*
 * The records of a perf.data: which are tracepoint samples, and where in them time, CPU, call chain and raw data lie.
 * scanner.py calls it; perfdata.py says the same in Python.
 *
 * Source: include/uapi/linux/perf_event.h, enum perf_event_type and struct perf_event_attr, v6.12.
 */
#include <stdint.h>
#include <string.h>

enum { MMAP = 1, LOST = 2, COMM = 3, THROTTLE = 5, SAMPLE = 9, LOST_SAMPLES = 13, AUXTRACE = 71, COMPRESSED = 81,
       COMPRESSED2 = 83 };
enum { S_IP = 1, S_TID = 2, S_TIME = 4, S_ADDR = 8, S_READ = 16, S_CALLCHAIN = 32, S_ID = 64, S_CPU = 128,
       S_PERIOD = 256, S_STREAM_ID = 512, S_RAW = 1024, S_IDENTIFIER = 1 << 16 };
enum { R_ENABLED = 1, R_RUNNING = 2, R_ID = 4, R_GROUP = 8, R_LOST = 16 };
enum { MORE, STOPPED, BAD_RECORD, BAD_SAMPLE, BAD_TIME };
#define CONTEXT_MAX ((uint64_t)-4095)
#define CONTEXT_KERNEL ((uint64_t)-128)

struct attrs {
	int64_t n_ids;
	const uint64_t *ids;                       /* sorted */
	const int32_t *attr_of;                    /* each id's */
	const uint64_t *sample_type, *read_format; /* each attr's */
	const uint8_t *fate;                       /* 65536: 0 drops events of a type */
	const int32_t *from, *until;               /* 65536 each: which of an event's bytes are kept, by four */
	int64_t type_at, pid_at;
	int64_t stack_type, stack_size_at, stack_caller_at;
};

struct found {
	int64_t *ts;
	uint32_t *word;                            /* where a row's bytes begin in the heap, by four */
	int32_t *pid, *size;
	uint16_t *type, *cpu;
	int64_t used;
	uint8_t *heap;
	int64_t heap_used;
	int64_t *other, *other_row;                /* where records of another kind lie that Python looks at, and when */
	int64_t n_other, most_other;
	int64_t consumed, events, first_ns, last_ns, bad_at;
	int64_t *counts;                           /* 65536 */
};

static uint64_t words(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, 8);
	return value;
}

static uint32_t word(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return value;
}

static int64_t attr_of(const struct attrs *attrs, uint64_t id)
{
	int64_t low = 0, high = attrs->n_ids;

	while (low < high) {
		int64_t middle = (low + high) / 2;

		if (attrs->ids[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < attrs->n_ids && attrs->ids[low] == id ? attrs->attr_of[low] : -1;
}

/* Keep a row of `size` bytes, of which those after `from` are in the heap up to `until`. */
static void keep(struct found *found, int64_t ts, uint32_t cpu, int32_t pid, uint16_t type, int64_t size, int64_t from,
		 int64_t until)
{
	int64_t row = found->used++;

	found->ts[row] = ts;
	found->cpu[row] = (uint16_t)cpu;
	found->pid[row] = pid;
	found->type[row] = type;
	found->size[row] = (int32_t)size;
	found->word[row] = (uint32_t)((found->heap_used - from) / 4);
	if (until > from)
		found->heap_used += (until - from + 3) & ~3ll;
}

/* Keep the kernel's part of a call chain as a kernel_stack event. */
static void keep_stack(const struct attrs *attrs, struct found *found, const uint8_t *chain, uint64_t count, int64_t ts,
		       uint32_t cpu, int32_t pid)
{
	uint8_t *event = found->heap + found->heap_used;
	int32_t frames = 0;
	int kernel = 0;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t address = words(chain + 8 * i);

		if (address >= CONTEXT_MAX) {
			kernel = address == CONTEXT_KERNEL;
		} else if (kernel) {
			memcpy(event + attrs->stack_caller_at + 8 * frames, &address, 8);
			frames++;
		}
	}
	if (!frames)
		return;
	memset(event, 0, (size_t)attrs->stack_caller_at);
	memcpy(event + attrs->stack_size_at, &frames, 4);
	int64_t size = attrs->stack_caller_at + 8 * frames;

	keep(found, ts, cpu, pid, (uint16_t)attrs->stack_type, size, 0, size);
}

static int sample(const struct attrs *attrs, const uint8_t *at, const uint8_t *end, struct found *found)
{
	int64_t which = 0;

	if (attrs->n_ids) {
		if (end - at < 8)
			return BAD_SAMPLE;
		which = attr_of(attrs, words(at));
		if (which < 0)
			return BAD_SAMPLE;
	}
	uint64_t type = attrs->sample_type[which], format = attrs->read_format[which], ts = 0, chain_n = 0;
	uint32_t cpu = 0;
	const uint8_t *chain = 0;

	if (!(type & S_RAW))
		return MORE;                       /* no tracepoint */
	int64_t fixed = 8 * (!!(type & S_IDENTIFIER) + !!(type & S_IP) + !!(type & S_TID) + !!(type & S_TIME) +
			     !!(type & S_ADDR) + !!(type & S_ID) + !!(type & S_STREAM_ID) + !!(type & S_CPU) +
			     !!(type & S_PERIOD));

	if (end - at < fixed)
		return BAD_SAMPLE;
	at += 8 * (!!(type & S_IDENTIFIER) + !!(type & S_IP) + !!(type & S_TID));
	if (type & S_TIME) {
		ts = words(at);
		at += 8;
	}
	at += 8 * (!!(type & S_ADDR) + !!(type & S_ID) + !!(type & S_STREAM_ID));
	if (type & S_CPU) {
		cpu = word(at);
		at += 8;
	}
	at += 8 * !!(type & S_PERIOD);
	if (type & S_READ) {
		uint64_t each = 1 + !!(format & R_ID) + !!(format & R_LOST), n = 1;
		uint64_t times = !!(format & R_ENABLED) + !!(format & R_RUNNING);

		if (format & R_GROUP) {
			if (end - at < 8)
				return BAD_SAMPLE;
			n = words(at);
			at += 8;
		}
		if (n > (uint64_t)(end - at) / 8 || (int64_t)(8 * (n * each + times)) > end - at)
			return BAD_SAMPLE;
		at += 8 * (n * each + times);
	}
	if (type & S_CALLCHAIN) {
		if (end - at < 8)
			return BAD_SAMPLE;
		chain_n = words(at);
		chain = at + 8;
		if (chain_n > (uint64_t)(end - chain) / 8)
			return BAD_SAMPLE;
		at = chain + 8 * chain_n;
	}
	if (end - at < 4 || word(at) > end - at - 4)
		return BAD_SAMPLE;
	int64_t size = word(at);
	const uint8_t *event = at + 4;

	if (size < attrs->type_at + 2 || size < attrs->pid_at + 4 || cpu >> 16)
		return BAD_SAMPLE;
	if (ts >> 62)
		return BAD_TIME;
	uint16_t kind = (uint16_t)(event[attrs->type_at] | event[attrs->type_at + 1] << 8);
	int32_t pid = (int32_t)word(event + attrs->pid_at);

	if (!found->events++ || (int64_t)ts < found->first_ns)
		found->first_ns = (int64_t)ts;
	if ((int64_t)ts > found->last_ns)
		found->last_ns = (int64_t)ts;
	found->counts[kind]++;
	if (!attrs->fate[kind])
		return MORE;
	int64_t from = attrs->from[kind], until = size < attrs->until[kind] ? size : attrs->until[kind];

	if (until > from)
		memcpy(found->heap + found->heap_used, event + from, (size_t)(until - from));
	keep(found, (int64_t)ts, cpu, pid, kind, size, from, until);
	if (chain && attrs->stack_type >= 0)
		keep_stack(attrs, found, chain, chain_n, (int64_t)ts, cpu, pid);
	return MORE;
}

/*
 * Go through whole records; what is left at the end is not consumed. Stops before a record that carries others or data
 * behind it. There is room for a row every 16 bytes, and for three times the bytes in the heap.
 */
int nostale_perf(const struct attrs *attrs, const uint8_t *raw, int64_t size, struct found *found)
{
	int64_t at = 0;
	int result = MORE;

	while (result == MORE && size - at >= 8) {
		uint32_t type = word(raw + at);
		int64_t length = raw[at + 6] | raw[at + 7] << 8;

		if (length < 8) {
			result = BAD_RECORD;
			break;
		}
		if (type == AUXTRACE || type == COMPRESSED || type == COMPRESSED2) {
			result = STOPPED;
			break;
		}
		if (length > size - at)
			break;
		if (type == SAMPLE) {
			result = sample(attrs, raw + at + 8, raw + at + length, found);
		} else if (type == MMAP || type == LOST || type == COMM || type == THROTTLE || type == LOST_SAMPLES) {
			if (found->n_other == found->most_other)
				break;
			found->other[found->n_other] = at;
			found->other_row[found->n_other++] = found->used;
		}
		if (result == MORE)
			at += length;
	}
	found->consumed = at;
	found->bad_at = at;
	return result;
}
