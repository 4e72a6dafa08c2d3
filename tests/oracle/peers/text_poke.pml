/* Live text patching with three executing CPUs: INT3, IPIs, a store buffer of two, bytes of any version since the last
   synchronisation. Written by hand from text_poke_bp_batch() and the manuals' rule. */
#ifndef no_int3
#define no_int3 0
#endif
#ifndef no_tail_sync
#define no_tail_sync 0
#endif
#ifndef no_final_sync
#define no_final_sync 0
#endif

#define OLD 0
#define INT3 1
#define NEW 2

/* A store is 1 (INT3 over the first byte), 2 (the new tail) or 3 (the new first byte); 0 is none. */
byte older, younger;
/* The versions so far: what the first byte and the tail were in each. */
byte now;
byte head[4], tail[4];
byte at = (no_int3 -> 4 : 0);             /* the patcher: three rounds of store, fence, send, wait; then done */
byte oldest[3], version[3], cpu_at[3];   /* cpu_at: 0 between instructions, 1 decoding, 2 torn, 3 lost */
bit asked[3], answered[3], stale[3];
bit done;

#define FETCHABLE(i, v) (oldest[i] <= v && v <= now)
#define ALL_STALE stale[0] = 1; stale[1] = 1; stale[2] = 1
#define PUT(s) if :: older == 0 -> older = s :: else -> younger = s fi; ALL_STALE
#define STORE(where, s, next) :: d_step { at == where && younger == 0 -> PUT(s); at = next }
#define SYNC(where, next) \
 :: d_step { at == where && older == 0 -> at = where + 1 } \
 :: d_step { at == where + 1 -> \
      asked[0] = 1; asked[1] = 1; asked[2] = 1; answered[0] = 0; answered[1] = 0; answered[2] = 0; at = where + 2 } \
 :: d_step { at == where + 2 && answered[0] && answered[1] && answered[2] -> at = next }

#define FETCH_FIRST(i, v) \
 :: d_step { cpu_at[i] == 0 && FETCHABLE(i, v) -> version[i] = v; cpu_at[i] = 1 }
#define EXECUTE(i, v) \
 :: d_step { cpu_at[i] == 1 && head[version[i]] != INT3 && FETCHABLE(i, v) -> \
      if :: head[version[i]] == tail[v] -> cpu_at[i] = 0 \
         :: else -> cpu_at[i] = 2; assert(!stale[i]) fi; \
      version[i] = 0 }
#define CPU(i) \
 :: d_step { asked[i] && cpu_at[i] != 1 -> asked[i] = 0; answered[i] = 1; oldest[i] = now; stale[i] = 0 } \
 FETCH_FIRST(i, 0) FETCH_FIRST(i, 1) FETCH_FIRST(i, 2) FETCH_FIRST(i, 3) \
 EXECUTE(i, 0) EXECUTE(i, 1) EXECUTE(i, 2) EXECUTE(i, 3) \
 :: d_step { cpu_at[i] == 1 && head[version[i]] == INT3 -> \
      if :: done -> cpu_at[i] = 3; assert(!stale[i]) :: else -> cpu_at[i] = 0 fi; version[i] = 0 }

active proctype steps() {
end: do
 STORE(0, 1, 1)
 SYNC(1, 4)
 STORE(4, 2, (no_tail_sync -> 8 : 5))
 SYNC(5, 8)
 STORE(8, 3, (no_final_sync -> 12 : 9))
 SYNC(9, 12)
 :: d_step { at == 12 -> done = 1; at = 13; assert(!stale[0] && !stale[1] && !stale[2]) }
 :: d_step { older != 0 ->
      head[now + 1] = (older == 1 -> INT3 : (older == 3 -> NEW : head[now]));
      tail[now + 1] = (older == 2 -> NEW : tail[now]);
      now++; older = younger; younger = 0; ALL_STALE }
 CPU(0)
 CPU(1)
 CPU(2)
 od
}

#ifdef promised
never { do :: assert(cpu_at[0] < 2 && cpu_at[1] < 2 && cpu_at[2] < 2) od }
#endif
