"""codegen.wx: what an image wants to be writable and executable at once."""

from __future__ import annotations

from nostale.contract import Binding, Bound, Evidence, Grade, Step, Witness
from nostale.lint import Flow, ImageRule
from nostale.systems.codegen.contract import WX


def look(flow: Flow) -> Evidence:
    """Look at the flags of every section that stays in memory."""
    image = flow.image
    both = [one for one in image.sections if one.writable and one.executable]
    witnesses = tuple(Witness("map", (_step(one.name, one.end - one.start),)) for one in both)
    executable = sum(one.executable for one in image.sections)
    return Evidence(
        witnesses,
        () if executable else ("the image has no executable section: there was nothing to look at",),
        (f"the flags of {len(image.sections)} sections, {executable} of them executable",),
    )


def _step(name: str, size_bytes: int) -> Step:
    what = f"section {name} is writable and executable ({size_bytes} bytes)"
    why = "whoever can write there decides what the kernel runs"
    return Step("the image", f"{name}+0x0", what, why)


WX_RULE = ImageRule(
    binding=Binding(
        WX,
        "lint",
        {"map": Bound("the flags SHF_ALLOC, SHF_WRITE and SHF_EXECINSTR on one section", Grade.EXACT)},
        start="apart",
        start_why="nothing is mapped before the image is loaded",
        assumptions=(
            "the sections are mapped by their flags, as a module's are; aliases made at run time do not show",
        ),
    ),
    what="Looks at the flags of every section that stays in memory: none may be writable and executable. A module "
    "with such a section is refused by a kernel with STRICT_MODULE_RWX; linked into vmlinux, its flags spread to the "
    "whole output section. What is mapped twice at run time, as text_poke() does through a temporary mm, is not in the "
    "image and not looked at.",
    why=WX.why,
    example="""\
	.section .text.stub, "awx"       # violated: the w
stub:	ret
""",
    remedy=WX.remedy,
    look=look,
)
