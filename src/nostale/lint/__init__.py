"""lint: every path of a kernel binary.

`load_image` reads an image, `lint` runs rules over it; a `Rule` binds a contract to instructions along paths, an
`ImageRule` to an image as a whole, an `AuditRule` to each of several machines that may run it. Everything else here is
how, not what. Read are objects (vmlinux.o, .o, .ko) and linked images with symbols (vmlinux), of x86-64 and arm64.
"""

from nostale.lint.assumed import Assumed, Came
from nostale.lint.custom import custom_rule
from nostale.lint.effects import Effects
from nostale.lint.engine import lint
from nostale.lint.entries import Entry, EntryKind, find_entries, from_user, hits_anywhere, missing_kinds
from nostale.lint.entry_paths import MACHINES, Entered, Machine, enter
from nostale.lint.flow import Flow, Site
from nostale.lint.image import Class, Image, Section, Segment
from nostale.lint.loading import build_image, load_image
from nostale.lint.patchable import Patchable, Patched, PatchSite
from nostale.lint.paths import Hop, Paths, Ways
from nostale.lint.reach import Scope, vector_slots
from nostale.lint.references import Reference
from nostale.lint.rule import Audited, AuditRule, ImageRule, Occurrence, Regions, Rule, Stated
from nostale.lint.story import tell_hops, tell_way
from nostale.lint.symbols import Symbol
from nostale.lint.tables import jump_key, table_places
from nostale.lint.targets import How, Target, Transfer, Via
from nostale.lint.walk import Finding
from nostale.outside.x86_effects import Effect

__all__ = [
    "MACHINES",
    "Assumed",
    "AuditRule",
    "Audited",
    "Came",
    "Class",
    "Effect",
    "Effects",
    "Entered",
    "Entry",
    "EntryKind",
    "Finding",
    "Flow",
    "Hop",
    "How",
    "Image",
    "ImageRule",
    "Machine",
    "Occurrence",
    "PatchSite",
    "Patchable",
    "Patched",
    "Paths",
    "Reference",
    "Regions",
    "Rule",
    "Scope",
    "Section",
    "Segment",
    "Site",
    "Stated",
    "Symbol",
    "Target",
    "Transfer",
    "Via",
    "Ways",
    "build_image",
    "custom_rule",
    "enter",
    "find_entries",
    "from_user",
    "hits_anywhere",
    "jump_key",
    "lint",
    "load_image",
    "missing_kinds",
    "table_places",
    "tell_hops",
    "tell_way",
    "vector_slots",
]
