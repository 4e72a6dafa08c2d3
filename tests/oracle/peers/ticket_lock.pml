/* The ticket lock with three CPUs, written by hand from the protocol. */
#ifndef torn_take
#define torn_take 0
#endif
#ifndef few_tickets
#define few_tickets 0
#endif

#define AFTER(t) (t + 1 == (few_tickets -> 2 : 3) -> 0 : t + 1)

byte free_number, called;
byte at[3], ticket[3];
bit inside[3];

/* 0 takes a ticket, or only reads it; 1 stores the next one; 2 waits; 3 comes out; 4 calls the next number */
#define CPU(me) \
 :: d_step { at[me] == 0 && !torn_take -> ticket[me] = free_number; free_number = AFTER(free_number); at[me] = 2 } \
 :: d_step { at[me] == 0 && torn_take -> ticket[me] = free_number; at[me] = 1 } \
 :: d_step { at[me] == 1 -> free_number = AFTER(ticket[me]); at[me] = 2 } \
 :: d_step { at[me] == 2 && called == ticket[me] -> inside[me] = 1; ticket[me] = 0; at[me] = 3 } \
 :: d_step { at[me] == 3 -> inside[me] = 0; at[me] = 4 } \
 :: d_step { at[me] == 4 -> called = AFTER(called); at[me] = 0 }

active proctype steps() {
end: do
 CPU(0)
 CPU(1)
 CPU(2)
 od
}

#ifdef promised
never { do :: assert(inside[0] + inside[1] + inside[2] <= 1) od }
#endif
