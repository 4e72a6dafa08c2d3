/* Peterson's lock, written by hand from the protocol: every step a guarded command, so that states are comparable. */
#ifndef offer_first
#define offer_first 0
#endif
#ifndef keep_turn
#define keep_turn 0
#endif

#define START (offer_first -> 0 : 1)

bit wants[2], inside[2], looking[2];
bit turn;
byte at[2] = START;

/* 0 offers too early, 1 wants, 2 offers, 3 begins to look, 4 looks on?, 5 the other's flag, 6 on to the turn?, 7 the turn */
#define CPU(me) \
 :: d_step { at[me] == 0 -> turn = 1 - me; at[me] = 1 } \
 :: d_step { at[me] == 1 -> wants[me] = 1; at[me] = (offer_first || keep_turn -> 3 : 2) } \
 :: d_step { at[me] == 2 -> turn = 1 - me; at[me] = 3 } \
 :: d_step { at[me] == 3 -> looking[me] = 1; at[me] = 4 } \
 :: d_step { at[me] == 4 -> at[me] = (looking[me] -> 5 : 8) } \
 :: d_step { at[me] == 5 -> looking[me] = wants[1 - me]; at[me] = 6 } \
 :: d_step { at[me] == 6 -> at[me] = (looking[me] -> 7 : 4) } \
 :: d_step { at[me] == 7 -> looking[me] = (turn != me); at[me] = 4 } \
 :: d_step { at[me] == 8 -> inside[me] = 1; at[me] = 9 } \
 :: d_step { at[me] == 9 -> inside[me] = 0; at[me] = 10 } \
 :: d_step { at[me] == 10 -> wants[me] = 0; at[me] = START }

active proctype steps() {
end: do
 CPU(0)
 CPU(1)
 od
}

#ifdef promised
never { do :: assert(!(inside[0] && inside[1])) od }
#endif
