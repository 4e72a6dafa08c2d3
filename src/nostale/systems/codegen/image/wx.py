"""codegen.wx: what an image wants to be writable and executable at once."""

from __future__ import annotations

from nostale.contract import Binding, Bound, Evidence, Grade, Step, Witness
from nostale.lint import Flow, Image, ImageRule, Section, Segment
from nostale.systems.codegen.contract import WX

# x86's decompressor copies a vmlinux's segments and heeds no flag of theirs (arch/x86/boot/compressed/misc.c,
# parse_elf(), v6.12); an arm64 Image has no program headers any more. The kernel makes its own page tables.
_DOUBT = "a kernel maps itself: whether its page tables follow its program headers is told by CONFIG_DEBUG_WX only"
_WHY = "whoever can write there decides what the kernel runs"
_LISTED = 4


def look(flow: Flow) -> Evidence:
    """Look at the flags of every section that stays in memory, and of every segment that is loaded."""
    image = flow.image
    both = [one for one in image.sections if one.writable and one.executable]
    witnesses = [Witness("map", (_section(one),)) for one in both]
    wide = [one for one in image.segments if one.writable and one.executable]
    witnesses += [Witness("map", (_segment(image, one),), {"map": Grade.MAY}, _DOUBT) for one in wide]
    executable = sum(one.executable for one in image.sections)
    bounds = [f"the flags of {len(image.sections)} sections, {executable} of them executable"]
    if image.segments:
        bounds.append(f"the flags of {len(image.segments)} segments that are loaded")
    return Evidence(
        tuple(witnesses),
        () if executable else ("the image has no executable section: there was nothing to look at",),
        tuple(bounds),
    )


def _section(one: Section) -> Step:
    what = f"section {one.name} is writable and executable ({one.end - one.start} bytes)"
    return Step("the image", f"{one.name}+0x0", what, _WHY)


def _segment(image: Image, one: Segment) -> Step:
    within = [part for part in image.sections if one.start <= part.start < one.end]
    code = list(dict.fromkeys(part.name for part in within if part.executable))
    more = f" and {len(code) - _LISTED} more" if len(code) > _LISTED else ""
    held = f" with {', '.join(code[:_LISTED])}{more}" if code else " with no code"
    what = f"segment {one.number} is loaded writable and executable ({one.end - one.start} bytes{held})"
    return Step("the image", f"{one.start:#x}", what, _WHY)


WX_RULE = ImageRule(
    binding=Binding(
        WX,
        "lint",
        {
            "map": Bound(
                "the flags SHF_ALLOC, SHF_WRITE and SHF_EXECINSTR on one section, PF_W and PF_X on one PT_LOAD segment",
                Grade.EXACT,
                "what a segment asks for is what whoever loads it may grant",
            )
        },
        start="apart",
        start_why="nothing is mapped before the image is loaded",
        assumptions=(
            "the sections are mapped by their flags, as a module's are; aliases made at run time do not show",
        ),
    ),
    what="Looks at the flags of every section that stays in memory: none may be writable and executable. A module "
    "with such a section is refused by a kernel with STRICT_MODULE_RWX; linked into vmlinux, its flags spread to the "
    "whole output section. Of a linked image it looks at the segments too: one that is loaded writable and executable "
    "is unknown, since a kernel makes its own page tables (docs/findings.md). What is mapped twice at run time, as "
    "text_poke() does through a temporary mm, is not in the image and not looked at.",
    why=WX.why,
    example="""\
	.section .text.stub, "awx"       # violated: the w
stub:	ret
""",
    remedy=WX.remedy,
    look=look,
)
