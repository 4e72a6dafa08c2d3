-- Peterson's lock, written by hand from the protocol.
const
  offer_first: false;
  keep_turn: false;

type
  cpu: 0..1;

var
  wants, inside, looking: array [cpu] of boolean;
  turn: cpu;
  at: array [cpu] of 0..10;

startstate begin
  for me: cpu do
    wants[me] := false; inside[me] := false; looking[me] := false;
    at[me] := offer_first ? 0 : 1;
  end;
  turn := 0;
end;

ruleset me: cpu do
  rule "offers too early" at[me] = 0 ==> begin turn := 1 - me; at[me] := 1; end;
  rule "wants" at[me] = 1 ==> begin wants[me] := true; at[me] := (offer_first | keep_turn) ? 3 : 2; end;
  rule "offers" at[me] = 2 ==> begin turn := 1 - me; at[me] := 3; end;
  rule "begins to look" at[me] = 3 ==> begin looking[me] := true; at[me] := 4; end;
  rule "looks on?" at[me] = 4 ==> begin at[me] := looking[me] ? 5 : 8; end;
  rule "the other's flag" at[me] = 5 ==> begin looking[me] := wants[1 - me]; at[me] := 6; end;
  rule "on to the turn?" at[me] = 6 ==> begin at[me] := looking[me] ? 7 : 4; end;
  rule "the turn" at[me] = 7 ==> begin looking[me] := turn != me; at[me] := 4; end;
  rule "goes in" at[me] = 8 ==> begin inside[me] := true; at[me] := 9; end;
  rule "comes out" at[me] = 9 ==> begin inside[me] := false; at[me] := 10; end;
  rule "no longer wants" at[me] = 10 ==> begin wants[me] := false; at[me] := offer_first ? 0 : 1; end;
end;

invariant "both inside" !(inside[0] & inside[1]);
