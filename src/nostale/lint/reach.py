"""Where paths begin, and what no path comes to."""

from __future__ import annotations

from collections.abc import Sequence

from nostale.lint.flow import Flow
from nostale.lint.image import Section
from nostale.lint.targets import How
from nostale.outside.instruction import Kind


def entries(flow: Flow, sections: Sequence[Section]) -> tuple[list[int], list[int]]:
    """Return where paths begin: every function; and, where none came by, each unwind hint, then each global label.

    Code written in assembly has labels, not functions; its hints stand where it can be entered. Those at a symbol come
    first, so that a path begins at a name. A global label that nothing comes to is entered from elsewhere, by hardware
    perhaps, as vmx_vmexit is.
    """
    image = flow.image
    functions = {
        one.address
        for one in image.symbols.symbols
        if one.kind == "func" and one.size_bytes and one.address is not None and ".cold" not in one.name
    }
    first = sorted(one for one in functions if any(part.start <= one < part.end for part in sections))
    hints = [one for one in flow.tables.hints if any(part.start <= one < part.end for part in sections)]
    hints.sort(key=lambda one: (image.symbols.starting(one) is None, one))
    labels = sorted(
        one.address
        for one in image.symbols.symbols
        if one.address is not None and (one.kind == "func" or (one.kind == "notype" and one.bind == "global"))
    )
    return first, hints + [one for one in labels if any(part.start <= one < part.end for part in sections)]


def not_reached(flow: Flow, sections: Sequence[Section], reached: set[int]) -> list[int]:
    """Return the instructions that no path came to, other than fillers and what follows a call that never returns.

    The compiler need not know of such a callee that it does not return, and leaves the code after it in place.
    """
    image, found = flow.image, []
    for section in sections:
        covered, dead = section.start, False
        for address, length, kind, _ in image.decoded(section.start, section.end):
            if address in reached:
                covered = address + length
                transfer = flow.site(address).transfer
                dead = transfer is not None and transfer.how is How.CALL and not transfer.returns
            elif address >= covered and not dead and kind not in (Kind.PAD, Kind.STOP, Kind.DATA):
                found.append(address)
    return found
