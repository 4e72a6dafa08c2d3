-- The ticket lock with three CPUs, written by hand from the protocol.
const
  torn_take: false;
  few_tickets: false;

type
  cpu: 0..2;
  number: 0..2;

var
  free_number, called: number;
  ticket: array [cpu] of number;
  inside: array [cpu] of boolean;
  at: array [cpu] of enum {takes, stores, waits, comes_out, calls};

function after(t: number): number; begin
  return t + 1 = (few_tickets ? 2 : 3) ? 0 : t + 1;
end;

startstate begin
  free_number := 0; called := 0;
  for me: cpu do ticket[me] := 0; inside[me] := false; at[me] := takes; end;
end;

ruleset me: cpu do
  rule "takes a ticket" at[me] = takes & !torn_take ==> begin
    ticket[me] := free_number; free_number := after(free_number); at[me] := waits;
  end;
  rule "reads the ticket" at[me] = takes & torn_take ==> begin ticket[me] := free_number; at[me] := stores; end;
  rule "stores the next" at[me] = stores ==> begin free_number := after(ticket[me]); at[me] := waits; end;
  rule "goes in" at[me] = waits & called = ticket[me] ==> begin
    inside[me] := true; ticket[me] := 0; at[me] := comes_out;
  end;
  rule "comes out" at[me] = comes_out ==> begin inside[me] := false; at[me] := calls; end;
  rule "calls the next" at[me] = calls ==> begin called := after(called); at[me] := takes; end;
end;

invariant "two inside" forall a: cpu do forall b: cpu do a != b -> !(inside[a] & inside[b]) end end;
