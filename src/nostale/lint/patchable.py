"""Whether an instruction may be patched while the kernel runs, and by what: keys, static calls, ftrace, kprobes.

Boot-time alternatives are not among it: they are applied once, before there is a second CPU (`assumed`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nostale.lint.image import Class, Image
from nostale.lint.patchsites import PatchSites


class Patched(StrEnum):
    """By what an instruction may be patched."""

    STATIC_KEY = "static key"
    STATIC_CALL = "static call"
    FTRACE = "ftrace"
    KPROBE = "kprobe"


@dataclass(frozen=True, slots=True)
class PatchSite:
    """What may patch an instruction.

    Args:
        name: of the key, the static call or, for ftrace and kprobes, the function.
        ro_after_init: whether its key cannot change any more once the kernel has booted; None where the image does not
            define it, or where there is no key.
        certain: whether it is known to be patchable: code of the idle loop is closed to kprobes in some versions only,
            and an object does not tell which.
    """

    by: Patched
    name: str
    ro_after_init: bool | None = None
    certain: bool = True


@dataclass(slots=True)
class Patchable:
    """Tells, for the control flow of one image, which instructions are patch sites."""

    image: Image
    _sites: PatchSites = field(init=False)
    _known: dict[int, tuple[PatchSite, ...]] = field(default_factory=dict)  # what paths on every machine come to

    def __post_init__(self) -> None:
        self._sites = PatchSites(self.image)

    def at(self, address: int, home: int) -> tuple[PatchSite, ...]:
        """Return what may patch an instruction while the kernel runs.

        Args:
            home: of replacement code, the original that it is copied over.
        """
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = tuple(self._found(address, home))
        return known

    def _found(self, address: int, home: int) -> list[PatchSite]:
        found, label, call = [], self._sites.jump_label(address), self._sites.static_call(address)
        if label is not None:
            found.append(PatchSite(Patched.STATIC_KEY, label.key, label.ro_after_init))
        if call is not None:
            found.append(PatchSite(Patched.STATIC_CALL, call.key, call.ro_after_init))
        if address in self._sites.ftrace:
            found.append(PatchSite(Patched.FTRACE, _function(self.image, address)))
        if self._sites.probeable(home):
            certain = self._probed(home)
            if certain is not False:
                found.append(PatchSite(Patched.KPROBE, _function(self.image, home), None, certain is True))
        return found

    def _probed(self, address: int) -> bool | None:
        """Return whether a probe is let in where no table forbids it; None for idle code of an object.

        Since Linux commit 2b5a0e425e6e ("objtool/idle: Validate __cpuidle code as noinstr") (in v6.3) .cpuidle.text is
        linked into the range that is closed to probes; before, it is open.
        """
        edges = [self.image.symbols.named(f"__noinstr_text_{edge}") for edge in ("start", "end")]
        places = [one.address for one in edges if one is not None and one.address is not None]
        if len(places) == len(edges):
            return not places[0] <= address < places[1]
        return None if self.image.class_at(address) is Class.CPUIDLE else True


def _function(image: Image, address: int) -> str:
    return image.place(address).split("+")[0]
