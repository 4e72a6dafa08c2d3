"""What CPUs keep of page tables: a TLB and paging-structure caches each, filled at any time, flushed by request only.

A CPU may walk the tables it has loaded for any mapped address at any time, needed or not, and keep what it finds; it
may hold an old and a new translation of one page at once and use either. Entries are tagged by address space (PCID),
those of global pages by none. Not-present entries are not kept.
Source: SDM vol. 3, "Caching Translation Information" (4.10): TLBs, paging-structure caches, PCIDs, global pages,
"Operations that Invalidate TLBs and Paging-Structure Caches"; AMD APM vol. 2, INVLPGB and TLBSYNC; arch/x86/mm/tlb.c.
Whether a flush also makes the CPU fetch instructions anew is told by `serialising`; a broadcast one does so for nobody.
Not modelled: access rights and the accessed and dirty bits, large pages, more than one page-table page a space, nested
paging, entries shared between CPUs (arm64's CnP).
"""

from __future__ import annotations

from collections.abc import Sequence

from nostale.prove.language import Component, array, choose, flag, rule, upto, wait


class Translations(Component):
    """Page tables, and what each CPU keeps of them.

    Args:
        cpus: how many CPUs; each starts in space 0.
        pages: virtual pages, numbered from 0.
        frames: physical pages, numbered from 1; 0 is "not present".
        spaces: address spaces, each with a PCID of its own where `pcid`.
        global_pages: pages that every space maps alike (its entry is space 0's) and a CR3 write does not flush.
        pcid: CR4.PCIDE; without it a CR3 write flushes the other spaces' entries too.
        tables: whether paging-structure caches matter to the model: a space's page table can then be unlinked.
    """

    def __init__(
        self,
        cpus: int,
        pages: int,
        frames: int,
        spaces: int = 1,
        global_pages: Sequence[int] = (),
        *,
        pcid: bool = False,
        tables: bool = False,
    ) -> None:
        self.cpus, self.pages, self.frames, self.spaces = cpus, pages, frames, spaces
        self.global_pages, self.pcid, self.tables = tuple(global_pages), pcid, tables
        self.entry = [array(pages, lambda: upto(frames)) for _ in range(spaces)]
        self.loaded = array(cpus, lambda: upto(spaces - 1))
        self.held = [[[array(frames, flag) for _ in range(pages)] for _ in range(spaces)] for _ in range(cpus)]
        self.linked = array(spaces, lambda: flag(first=True))
        self.freed = array(spaces, flag)
        self.points = [array(spaces, flag) for _ in range(cpus)]
        self.asked = array(cpus, flag)
        self.asked_space, self.asked_page = upto(spaces - 1, shown=False), upto(pages - 1, shown=False)

    def tag(self, space: int, page: int) -> int:
        """Return the space under which a page's entries are kept."""
        return 0 if page in self.global_pages else space

    def map(self, space: int, page: int, frame: int) -> None:
        """Write a page-table entry; 0 unmaps. No CPU is told."""
        self.entry[self.tag(space, page)][page] = frame

    @rule(per=("cpus", "spaces", "pages"), lane="CPU {}'s TLB")
    def fill(self, cpu: int, space: int, page: int) -> None:
        """Walks the page tables, needed or not, and keeps the translation of page {page}."""
        frame = self.entry[self.tag(space, page)][page]
        wait(self.loaded[cpu] == space and frame != 0)
        wait(self.walkable(cpu, space))
        wait(not self.held[cpu][self.tag(space, page)][page][frame - 1])
        self.held[cpu][self.tag(space, page)][page][frame - 1] = True

    @rule(per=("cpus", "spaces"), lane="CPU {}'s TLB")
    def keep_table(self, cpu: int, space: int) -> None:
        """Keeps where the page table is, needed or not."""
        wait(self.tables)
        wait(self.loaded[cpu] == space and self.linked[space] and not self.points[cpu][space])
        self.points[cpu][space] = True

    def walkable(self, cpu: int, space: int) -> bool:
        """Whether a walk gets to the space's page table: by the directory, or by a kept pointer to it."""
        return self.linked[space] or self.points[cpu][space]

    def unlink(self, space: int) -> None:
        """Take the page table out of the directory. No CPU is told."""
        self.linked[space] = False

    def free_table(self, space: int) -> None:
        """Give the page-table page back: whoever still walks it reads what somebody else put there."""
        self.freed[space] = True

    def walks_freed(self, cpu: int) -> bool:
        """Whether `cpu` may walk a page table that was freed."""
        return any(
            self.freed[space] and self.points[cpu][space] and self.loaded[cpu] == space for space in range(self.spaces)
        )

    def access(self, cpu: int, space: int, page: int) -> int:
        """Return any frame that `cpu`, in `space`, may reach at `page`; it goes on only if there is one."""
        frame = choose(range(1, self.frames + 1))
        wait(self.loaded[cpu] == space)
        wait(self.reaches(cpu, space, page, frame))
        return frame

    def reaches(self, cpu: int, space: int, page: int, frame: int) -> bool:
        """Whether an access to `page` in `space` may go to `frame`: by a kept entry, or by a walk."""
        return self.held[cpu][self.tag(space, page)][page][frame - 1] or (
            self.entry[self.tag(space, page)][page] == frame and self.walkable(cpu, space)
        )

    def flush_page(self, cpu: int, page: int) -> None:
        """INVLPG: this page in the loaded space, global or not, and what is kept of that space's tables."""
        for space in range(self.spaces):
            if self.loaded[cpu] == space:
                self.drop(cpu, self.tag(space, page), page)
                self.points[cpu][space] = False

    def write_cr3(self, cpu: int, space: int, no_flush: bool = False) -> None:
        """MOV to CR3: load a space; unless bit 63 says not to, flush its entries but not those of global pages.

        Without PCIDs the entries of every space go. Not the whole TLB in any case: see `flush_all`.
        """
        self.loaded[cpu] = space
        if not (no_flush and self.pcid):
            for other in range(self.spaces):
                if other == space or not self.pcid:
                    self.flush_space(cpu, other)

    def flush_space(self, cpu: int, space: int) -> None:
        """INVPCID type 1: the entries of one space, but not those of global pages."""
        for page in range(self.pages):
            if page not in self.global_pages:
                self.drop(cpu, space, page)
        self.points[cpu][space] = False

    def flush_all(self, cpu: int) -> None:
        """INVPCID type 2, or CR4.PGE toggled: everything, global pages too."""
        for space in range(self.spaces):
            for page in range(self.pages):
                self.drop(cpu, space, page)
            self.points[cpu][space] = False

    def drop(self, cpu: int, space: int, page: int) -> None:
        """Forget every translation of a page."""
        for frame in range(self.frames):
            self.held[cpu][space][page][frame] = False

    def broadcast(self, space: int, page: int) -> None:
        """INVLPGB, or TLBI on arm64: ask every CPU to flush a page; it waits only for an earlier one to be through."""
        wait(not any(self.asked))
        self.asked_space = self.tag(space, page)
        self.asked_page = page
        for cpu in range(self.cpus):
            self.asked[cpu] = True

    def tlbsync(self) -> None:
        """TLBSYNC, or the DSB after TLBI: go on when every CPU has flushed."""
        wait(not any(self.asked))

    @rule(per=("cpus", "spaces", "pages"), lane="CPU {}'s TLB")
    def flush_by_broadcast(self, cpu: int, space: int, page: int) -> None:
        """Flushes page {page} by request from the bus, without an interrupt: nothing is serialised."""
        wait(self.asked[cpu] and self.asked_space == space and self.asked_page == page)
        self.drop(cpu, space, page)
        self.points[cpu][space] = False
        self.asked[cpu] = False
