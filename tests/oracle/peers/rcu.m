-- The grace period of user-space RCU, two readers and two updates, written by hand from the protocol.
const
  no_wait: false;
  one_flip: false;
  free_early: false;
  late_announce: false;
  UPDATES: 2;

type
  reader: 0..1;

var
  phase: 0..1;
  published: 0..UPDATES;
  announced: array [reader] of enum {outside, has_0, has_1};
  found: array [reader] of 0..1;
  holding: array [reader] of boolean;
  holds: array [reader] of 0..UPDATES;
  at: array [reader] of enum {looks, announces, loads, uses, unlocks};
  freed: array [0..UPDATES - 1] of boolean;
  update: 0..UPDATES;
  flips: 0..1;
  asked: 0..1;
  doing: enum {publishes, flips_phase, waits, frees};

function waited(r: reader): boolean; begin
  return announced[r] = outside | announced[r] = (phase = 0 ? has_0 : has_1);
end;

startstate begin
  phase := 0; published := 0; update := 0; flips := 0; asked := 0;
  for r: reader do
    announced[r] := outside; found[r] := 0; holding[r] := false; holds[r] := 0; at[r] := looks;
  end;
  for u := 0 to UPDATES - 1 do freed[u] := false; end;
  doing := free_early ? flips_phase : publishes;
end;

ruleset r: reader do
  rule "looks at the phase" at[r] = looks ==> begin
    found[r] := phase; at[r] := late_announce ? loads : announces;
  end;
  rule "announces" at[r] = announces ==> begin
    announced[r] := found[r] = 0 ? has_0 : has_1; found[r] := 0; at[r] := late_announce ? uses : loads;
  end;
  rule "loads the pointer" at[r] = loads ==> begin
    holding[r] := true; holds[r] := published; at[r] := late_announce ? announces : uses;
  end;
  rule "is done" at[r] = uses ==> begin holding[r] := false; holds[r] := 0; at[r] := unlocks; end;
  rule "unlocks" at[r] = unlocks ==> begin announced[r] := outside; at[r] := looks; end;
end;

rule "publishes" update < UPDATES & doing = publishes ==> begin
  published := update + 1; doing := (free_early | no_wait) ? frees : flips_phase;
end;
rule "flips" update < UPDATES & doing = flips_phase ==> begin phase := 1 - phase; doing := waits; end;
rule "has waited for one" update < UPDATES & doing = waits & waited(asked) ==> begin
  if asked = 0 then asked := 1;
  else
    asked := 0;
    if flips = 0 & !one_flip then flips := 1; doing := flips_phase;
    else flips := 0; doing := free_early ? publishes : frees; end;
  end;
end;
rule "frees" update < UPDATES & doing = frees ==> begin
  freed[update] := true; update := update + 1; doing := free_early ? flips_phase : publishes;
end;

invariant "use after free" forall r: reader do !(holding[r] & holds[r] < UPDATES & freed[holds[r]]) end;
