/* The grace period of user-space RCU, two readers and two updates, written by hand from the protocol. */
#ifndef no_wait
#define no_wait 0
#endif
#ifndef one_flip
#define one_flip 0
#endif
#ifndef free_early
#define free_early 0
#endif
#ifndef late_announce
#define late_announce 0
#endif

#define NONE 3
#define FLIPS (one_flip -> 1 : 2)

bit phase;
byte published;
byte announced[2], found[2], at[2];
byte holds[2] = NONE;
bit freed[2];
/* The updater: the update it is at, where in it, and the flips it has made. */
byte update, flips;
byte doing = (free_early -> 1 : 0);

/* 0 looks at the phase, 1 announces it, 2 loads the pointer, 3 is done with the object, 4 unlocks */
#define READER(me) \
 :: d_step { at[me] == 0 -> found[me] = phase; at[me] = (late_announce -> 2 : 1) } \
 :: d_step { at[me] == 1 -> announced[me] = 1 + found[me]; found[me] = 0; at[me] = (late_announce -> 3 : 2) } \
 :: d_step { at[me] == 2 -> holds[me] = published; at[me] = (late_announce -> 1 : 3) } \
 :: d_step { at[me] == 3 -> holds[me] = NONE; at[me] = 4 } \
 :: d_step { at[me] == 4 -> announced[me] = 0; at[me] = 0 }

/* 0 publishes, 1 flips, 2 and 3 wait for a reader each, 4 frees */
#define WAITED(r) (announced[r] == 0 || announced[r] == 1 + phase)

active proctype steps() {
end: do
 READER(0)
 READER(1)
 :: d_step { update < 2 && doing == 0 -> published = update + 1; doing = (free_early || no_wait -> 4 : 1) }
 :: d_step { update < 2 && doing == 1 -> phase = 1 - phase; doing = 2 }
 :: d_step { update < 2 && doing == 2 && WAITED(0) -> doing = 3 }
 :: d_step { update < 2 && doing == 3 && WAITED(1) ->
      flips++;
      if :: flips < FLIPS -> doing = 1
         :: else -> flips = 0; doing = (free_early -> 0 : 4) fi }
 :: d_step { update < 2 && doing == 4 -> freed[update] = 1; update++; doing = (free_early -> 1 : 0) }
 od
}

#define USES_FREED(r) ((holds[r] == 0 && freed[0]) || (holds[r] == 1 && freed[1]))
#ifdef promised
never { do :: assert(!USES_FREED(0) && !USES_FREED(1)) od }
#endif
