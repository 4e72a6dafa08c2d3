-- Live text patching with three executing CPUs: INT3, IPIs, a store buffer of two, bytes of any version since the last
-- synchronisation. Written by hand from text_poke_bp_batch() and the manuals' rule.
const
  no_int3: false;
  no_tail_sync: false;
  no_final_sync: false;

type
  cpu: 0..2;
  age: 0..3;
  byte: enum {old, int3, new};
  store: enum {none, int3_first, new_tail, new_first};

var
  older, younger: store;
  now: age;
  head, tail: array [age] of byte;
  round: 0..3;
  doing: enum {stores, fences, sends, waits};
  done, returned: boolean;
  oldest, version: array [cpu] of age;
  at: array [cpu] of enum {boundary, decoding, torn, lost};
  asked, answered, stale: array [cpu] of boolean;

procedure next_round(); begin
  round := round + 1; doing := stores;
end;

function fetchable(c: cpu; v: age): boolean; begin
  return oldest[c] <= v & v <= now;
end;

startstate begin
  older := none; younger := none; now := 0;
  for v: age do head[v] := old; tail[v] := old; end;
  round := no_int3 ? 1 : 0; doing := stores; done := false; returned := false;
  for c: cpu do
    oldest[c] := 0; version[c] := 0; at[c] := boundary;
    asked[c] := false; answered[c] := false; stale[c] := false;
  end;
end;

rule "the patcher stores" round < 3 & doing = stores & younger = none ==>
var posted: store;
begin
  posted := round = 0 ? int3_first : (round = 1 ? new_tail : new_first);
  if older = none then older := posted; else younger := posted; end;
  for c: cpu do stale[c] := true; end;
  if (round = 1 & no_tail_sync) | (round = 2 & no_final_sync) then next_round(); else doing := fences; end;
end;
rule "the patcher's stores are visible" doing = fences & older = none ==> begin doing := sends; end;
rule "the patcher sends the IPIs" doing = sends ==> begin
  for c: cpu do asked[c] := true; answered[c] := false; end;
  doing := waits;
end;
rule "everybody has answered" doing = waits & forall c: cpu do answered[c] end ==> begin next_round(); end;
rule "the patcher returns" round = 3 & !returned ==> begin
  assert "done while stale" !(exists c: cpu do stale[c] end);
  done := true; returned := true;
end;
rule "a store becomes visible" older != none ==> begin
  head[now + 1] := older = int3_first ? int3 : (older = new_first ? new : head[now]);
  tail[now + 1] := older = new_tail ? new : tail[now];
  now := now + 1;
  older := younger; younger := none;
  for c: cpu do stale[c] := true; end;
end;

ruleset c: cpu do
  rule "takes the IPI" asked[c] & at[c] != decoding ==> begin
    asked[c] := false; answered[c] := true; oldest[c] := now; stale[c] := false;
  end;
  rule "traps" at[c] = decoding & head[version[c]] = int3 ==> begin
    assert "trap while stale" !(done & stale[c]);
    at[c] := done ? lost : boundary; version[c] := 0;
  end;
end;
ruleset c: cpu; v: age do
  rule "fetches the first byte" at[c] = boundary & fetchable(c, v) ==> begin version[c] := v; at[c] := decoding; end;
  rule "executes" at[c] = decoding & head[version[c]] != int3 & fetchable(c, v) ==> begin
    assert "executes while stale" head[version[c]] = tail[v] | !stale[c];
    at[c] := head[version[c]] = tail[v] ? boundary : torn; version[c] := 0;
  end;
end;

invariant "torn or lost" forall c: cpu do at[c] = boundary | at[c] = decoding end;
