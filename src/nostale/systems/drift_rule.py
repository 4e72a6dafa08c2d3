"""Whether an image still calls what the models stand for, in their order: so that no model drifts from the kernel.

A system names in its `kernel.py` the functions that its models stand for, and the calls that their steps are, as
`("f", ("a", "b|c"))`: on some path f calls a and then b or c. Which arguments they get, and what was inlined, an image
does not show.
"""

from __future__ import annotations

from collections.abc import Iterator

from nostale.contract import Binding, Bound, Contract, Evidence, Grade, Step, Witness
from nostale.lint import Flow, How, ImageRule

Kernel = tuple[str, tuple[str, ...]]
_FOLDED = (".isra.", ".constprop.", ".part.", ".llvm.")  # what compilers append to a function's name


def drift_rule(system: str, contract: Contract, kernel: tuple[Kernel, ...]) -> ImageRule:
    """Return the rule that looks for what the models of a system stand for."""
    return ImageRule(
        binding=Binding(
            contract,
            "lint",
            {"drift": Bound("a function that the image defines, and no path that makes the calls", Grade.EXACT)},
            start="agrees",
            start_why="the models were written from this function, in v6.12",
            assumptions=("a call that an image does not show was inlined, or is gone: that is not told apart",),
        ),
        what=f"Looks for every function that a model of {system} names: it must exist, and on some path it must make "
        "the calls that the model's steps are, in their order. A call that is nowhere in the function is unknown: it "
        "may be inlined.",
        why=contract.why,
        example="""\
void text_poke_bp_batch(...)
{
	text_poke(...);               /* INT3 */
	text_poke(...);               /* violated: the model has text_poke_sync() between the two */
	text_poke_sync();
}
""",
        remedy=contract.remedy,
        look=lambda flow: _look(flow, kernel),
    )


def _look(flow: Flow, wanted: tuple[Kernel, ...]) -> Evidence | None:
    symbols = flow.image.symbols
    here = [(name, calls) for name, calls in wanted if symbols.named(name) is not None]
    here = [one for one in here if symbols.named(one[0]).address is not None]  # type: ignore[union-attr]
    if not here:
        return None
    witnesses, missing, agreed = [], [], []
    for name, calls in here:
        made = {callee for _, callees in _calls(flow, name) for callee in callees}
        gone = [one for one in calls if not made.intersection(one.split("|"))]
        if gone:
            missing.append(f"whether {name}() calls {', '.join(gone)}: it may be inlined there")
        elif _in_order(flow, name, calls):
            agreed.append(name)
        else:
            order = ", ".join(calls)
            step = Step(name, f"{name}+0x0", f"makes no calls in the order {order}", "the model has them in this order")
            witnesses.append(Witness("drift", (step,)))
    return Evidence(tuple(witnesses), tuple(missing), (f"{len(agreed)} functions: {', '.join(agreed)}",))


def _calls(flow: Flow, name: str) -> Iterator[tuple[int, set[str]]]:
    """Yield the address of each call of a function, with the names of what it may call."""
    symbol = flow.image.symbols.named(name)
    assert symbol is not None and symbol.address is not None
    for one in flow.image.decoded(symbol.address, symbol.end):
        yield one[0], _callees(flow, one[0])


def _callees(flow: Flow, address: int) -> set[str]:
    transfer = flow.site(address).transfer
    if transfer is None or transfer.how not in (How.CALL, How.TAIL):
        return set()
    return {_plain(transfer.callee), *(_plain(target.name) for target in transfer.targets)}


def _plain(name: str) -> str:
    return min((name.split(mark)[0] for mark in _FOLDED), key=len)


def _in_order(flow: Flow, name: str, calls: tuple[str, ...]) -> bool:
    """Walk (instruction, calls made so far), breadth first, within the function."""
    symbol = flow.image.symbols.named(name)
    assert symbol is not None and symbol.address is not None
    queue, seen = [(symbol.address, 0)], {(symbol.address, 0)}
    for address, made in queue:  # grows while it is gone through
        if _callees(flow, address).intersection(calls[made].split("|")):
            made += 1
            if made == len(calls):
                return True
        for edge in flow.site(address).edges:
            following = (edge.to, made)
            if following not in seen and flow.function(edge.to) is not None:
                seen.add(following)
                queue.append(following)
    return False
