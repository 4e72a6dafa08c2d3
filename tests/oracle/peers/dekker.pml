/* Dekker's lock on x86-TSO with store buffers of two, written by hand from the protocol. */
#ifndef no_fences
#define no_fences 0
#endif
#ifndef no_first_fence
#define no_first_fence 0
#endif
#ifndef no_second_fence
#define no_second_fence 0
#endif

#define TURN 2

bit wants[2], inside[2], back[2];
bit turn;
byte at[2];
/* Each CPU's buffer: the older store and the younger one, as 1 + 2 * place + value; 0 where there is none. */
byte older[2], younger[2];

#define ROOM(me) (younger[me] == 0)
#define PUT(me, place, value) \
    if :: older[me] == 0 -> older[me] = 1 + 2 * (place) + (value) :: else -> younger[me] = 1 + 2 * (place) + (value) fi
#define TURN_IN(store) (store > 2 * TURN)
#define VALUE_IN(store) (store - 1 - 2 * TURN)
#define SEEN(me) (TURN_IN(younger[me]) -> VALUE_IN(younger[me]) : (TURN_IN(older[me]) -> VALUE_IN(older[me]) : turn))

#define CPU(me) \
 :: d_step { at[me] == 0 && ROOM(me) -> PUT(me, me, 1); at[me] = (no_fences || no_first_fence -> 2 : 1) } \
 :: d_step { at[me] == 1 && older[me] == 0 -> at[me] = 2 } \
 :: d_step { at[me] == 2 -> at[me] = (wants[1 - me] -> 3 : 9) } \
 :: d_step { at[me] == 3 -> back[me] = (SEEN(me) != me); at[me] = 4 } \
 :: d_step { at[me] == 4 -> at[me] = (back[me] -> 5 : 2) } \
 :: d_step { at[me] == 5 && ROOM(me) -> PUT(me, me, 0); at[me] = 6 } \
 :: d_step { at[me] == 6 && SEEN(me) == me -> back[me] = 0; at[me] = 7 } \
 :: d_step { at[me] == 7 && ROOM(me) -> PUT(me, me, 1); at[me] = (no_fences || no_second_fence -> 2 : 8) } \
 :: d_step { at[me] == 8 && older[me] == 0 -> at[me] = 2 } \
 :: d_step { at[me] == 9 -> inside[me] = 1; at[me] = 10 } \
 :: d_step { at[me] == 10 -> inside[me] = 0; at[me] = 11 } \
 :: d_step { at[me] == 11 && ROOM(me) -> PUT(me, TURN, 1 - me); at[me] = 12 } \
 :: d_step { at[me] == 12 && ROOM(me) -> PUT(me, me, 0); at[me] = 0 } \
 :: d_step { older[me] != 0 -> \
      if :: TURN_IN(older[me]) -> turn = VALUE_IN(older[me]) \
         :: else -> wants[(older[me] - 1) / 2] = (older[me] - 1) % 2 fi; \
      older[me] = younger[me]; younger[me] = 0 }

active proctype steps() {
end: do
 CPU(0)
 CPU(1)
 od
}

#ifdef promised
never { do :: assert(!(inside[0] && inside[1])) od }
#endif
