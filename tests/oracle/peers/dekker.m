-- Dekker's lock on x86-TSO with store buffers of two, written by hand from the protocol.
const
  no_fences: false;
  no_first_fence: false;
  no_second_fence: false;

type
  cpu: 0..1;
  place: enum {nowhere, wants_0, wants_1, the_turn};
  store: record where: place; what: 0..1; end;

var
  wants, inside, back: array [cpu] of boolean;
  turn: cpu;
  at: array [cpu] of 0..12;
  older, younger: array [cpu] of store;

function own(me: cpu): place; begin
  return me = 0 ? wants_0 : wants_1;
end;

function seen(me: cpu): cpu; begin
  if younger[me].where = the_turn then return younger[me].what; end;
  if older[me].where = the_turn then return older[me].what; end;
  return turn;
end;

procedure post(me: cpu; where: place; what: 0..1); begin
  if older[me].where = nowhere then
    older[me].where := where; older[me].what := what;
  else
    younger[me].where := where; younger[me].what := what;
  end;
end;

startstate begin
  for me: cpu do
    wants[me] := false; inside[me] := false; back[me] := false; at[me] := 0;
    older[me].where := nowhere; older[me].what := 0;
    younger[me].where := nowhere; younger[me].what := 0;
  end;
  turn := 0;
end;

ruleset me: cpu do
  rule "wants" at[me] = 0 & younger[me].where = nowhere ==> begin
    post(me, own(me), 1); at[me] := (no_fences | no_first_fence) ? 2 : 1;
  end;
  rule "fence" at[me] = 1 & older[me].where = nowhere ==> begin at[me] := 2; end;
  rule "looks at the other" at[me] = 2 ==> begin at[me] := wants[1 - me] ? 3 : 9; end;
  rule "looks at the turn" at[me] = 3 ==> begin back[me] := seen(me) != me; at[me] := 4; end;
  rule "steps back?" at[me] = 4 ==> begin at[me] := back[me] ? 5 : 2; end;
  rule "steps back" at[me] = 5 & younger[me].where = nowhere ==> begin post(me, own(me), 0); at[me] := 6; end;
  rule "its turn" at[me] = 6 & seen(me) = me ==> begin back[me] := false; at[me] := 7; end;
  rule "wants again" at[me] = 7 & younger[me].where = nowhere ==> begin
    post(me, own(me), 1); at[me] := (no_fences | no_second_fence) ? 2 : 8;
  end;
  rule "second fence" at[me] = 8 & older[me].where = nowhere ==> begin at[me] := 2; end;
  rule "goes in" at[me] = 9 ==> begin inside[me] := true; at[me] := 10; end;
  rule "comes out" at[me] = 10 ==> begin inside[me] := false; at[me] := 11; end;
  rule "your turn" at[me] = 11 & younger[me].where = nowhere ==> begin post(me, the_turn, 1 - me); at[me] := 12; end;
  rule "out" at[me] = 12 & younger[me].where = nowhere ==> begin post(me, own(me), 0); at[me] := 0; end;
  rule "drains" older[me].where != nowhere ==> begin
    if older[me].where = the_turn then turn := older[me].what;
    else wants[older[me].where = wants_0 ? 0 : 1] := older[me].what = 1; end;
    older[me] := younger[me];
    younger[me].where := nowhere; younger[me].what := 0;
  end;
end;

invariant "both inside" !(inside[0] & inside[1]);
