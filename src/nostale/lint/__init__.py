"""lint: every path of a kernel binary.

`load_image` reads an image, `lint` runs rules over it; a `Rule` binds a contract to instructions along paths, an
`ImageRule` to an image as a whole. Everything else here is how, not what. Read are objects (vmlinux.o, .o, .ko) and
linked images with symbols (vmlinux), of x86-64 and arm64.
"""

from nostale.lint.custom import custom_rule
from nostale.lint.engine import lint
from nostale.lint.flow import Flow
from nostale.lint.image import Class, Image
from nostale.lint.loading import build_image, load_image
from nostale.lint.reach import vector_slots
from nostale.lint.rule import ImageRule, Occurrence, Regions, Rule, Stated
from nostale.lint.tables import table_places
from nostale.lint.targets import How, Target, Transfer, Via

__all__ = [
    "Class",
    "Flow",
    "How",
    "Image",
    "ImageRule",
    "Occurrence",
    "Regions",
    "Rule",
    "Stated",
    "Target",
    "Transfer",
    "Via",
    "build_image",
    "custom_rule",
    "lint",
    "load_image",
    "table_places",
    "vector_slots",
]
