"""What single instructions of an image do: control registers, serialisation, ways back to user mode."""

from __future__ import annotations

from dataclasses import dataclass, field

from nostale.lint.image import Class, Image, Section
from nostale.outside.x86_effects import Effect, constant_ecx, effect

# SDM vol. 3, "Serializing Instructions". RSM, IRET, CPUID and SERIALIZE without privilege or not, the rest privileged.
SERIALISING = frozenset(
    {
        *(Effect.CPUID, Effect.SERIALIZE, Effect.IRET, Effect.RSM, Effect.CR3_WRITE, Effect.CR_WRITE, Effect.DR_WRITE),
        *(Effect.INVD, Effect.WBINVD, Effect.INVLPG, Effect.INVEPT, Effect.INVVPID, Effect.LOAD_TABLE),
    }
)
# SDM vol. 2, WRMSR: IA32_SPEC_CTRL, IA32_PRED_CMD, IA32_TSX_CTRL, IA32_TSC_DEADLINE, IA32_PKRS, IA32_HWP_REQUEST and
# those of the x2APIC are not serialising.
_WEAK_MSRS = frozenset({0x48, 0x49, 0x122, 0x6E0, 0x6E1, 0x774, *range(0x802, 0x840)})
_MOV_ECX_BYTES = 5
_LOOK_BACK_BYTES = 32


@dataclass(slots=True)
class Effects:
    """Tells, for one image, what an instruction does; each looked at once."""

    image: Image
    _known: dict[int, Effect | None] = field(default_factory=dict)
    _within: dict[int, dict[int, Effect]] = field(default_factory=dict)  # by where the section begins

    def at(self, address: int) -> Effect | None:
        """Return what the instruction at `address` does, None for one that does nothing told apart here."""
        if address not in self._known:
            one = self.image.instruction(address)
            self._known[address] = effect(self.image.read(address, one[1])) if one is not None else None
        return self._known[address]

    def msr(self, address: int) -> int | None:
        """Return the MSR that a WRMSR writes, where ECX is loaded with a constant shortly before it."""
        section = self.image.section_at(address)
        start = max(section.start if section else address, address - _LOOK_BACK_BYTES)
        code = self.image.read(start, address - start)
        for at in range(len(code) - _MOV_ECX_BYTES, -1, -1):
            if code[at] == 0xB9 and self._in_step(start + at, address):
                return constant_ecx(code[at:])
        return None

    def serialises(self, address: int) -> bool | None:
        """Return whether the instruction serialises the instruction stream; None where it depends on an unknown MSR."""
        what = self.at(address)
        if what is Effect.WRMSR:
            msr = self.msr(address)
            return None if msr is None else msr not in _WEAK_MSRS
        return what in SERIALISING

    def within(self, section: Section) -> dict[int, Effect]:
        """Return every instruction of a section that does something, by address."""
        found = self._within.get(section.start)
        if found is None:
            content, known = self.image.content(section), self._known
            for place, length, _, _ in self.image.decoded(section.start, section.end):
                if place not in known:
                    known[place] = effect(content[place - section.start : place - section.start + length])
            places = (one[0] for one in self.image.decoded(section.start, section.end))
            found = self._within[section.start] = {at: what for at in places if (what := known[at]) is not None}
        return found

    def _in_step(self, start: int, end: int) -> bool:
        """Return whether decoding from `start` comes to `end` with no instruction left over."""
        while start < end and (one := self.image.instruction(start)) is not None:
            start += one[1]
        return start == end


PROTECTED = frozenset({Class.NOINSTR, Class.ENTRY, Class.CPUIDLE})
