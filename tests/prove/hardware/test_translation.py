"""TLBs: a page is freed while others may still reach it, unless the right flush came before."""

import pytest

from nostale.prove import Model, atomic, flag, never, param, process, rule, sometimes, upto, variant, wait
from nostale.prove.hardware.translation import Translations
from tests.prove.hardware.common import broken, states

GLOBAL, PRIVATE = 0, 1
HOW = ("none", "page", "cr3", "cr3-no-flush", "all", "broadcast", "broadcast-unsynced")


class Unmap(Model):
    """CPU 0 unmaps a page, has CPU 1 flush it in some way, and frees the frame; CPU 1 accesses it meanwhile."""

    how = param("page", "how CPU 1 is made to flush", choices=HOW)
    page = param(PRIVATE, "0 is a global page, 1 is not")
    pcid = param(True, "CR4.PCIDE")

    def build(self) -> None:
        self.tlb = Translations(2, 2, 1, global_pages=(GLOBAL,), pcid=self.pcid)
        self.asked, self.answered, self.freed = flag(), flag(), flag()
        self.after, self.before = flag(), flag()

    @process(lane="CPU 0")
    def unmap(self) -> None:
        with atomic("maps the page"):
            self.tlb.map(0, self.page, 1)
        with atomic("clears the page-table entry"):
            self.tlb.map(0, self.page, 0)
        if self.how in ("broadcast", "broadcast-unsynced"):
            with atomic("INVLPGB"):
                self.tlb.broadcast(0, self.page)
            if self.how == "broadcast":
                with atomic("TLBSYNC"):
                    self.tlb.tlbsync()
        elif self.how != "none":
            self.asked = True
            wait(self.answered)
        self.freed = True

    @rule(lane="CPU 1")
    def flush(self) -> None:
        """Flushes as asked by IPI."""
        wait(self.asked and not self.answered)
        if self.how == "page":
            self.tlb.flush_page(1, self.page)
        if self.how == "cr3":
            self.tlb.write_cr3(1, 0)
        if self.how == "cr3-no-flush":
            self.tlb.write_cr3(1, 0, no_flush=True)
        if self.how == "all":
            self.tlb.flush_all(1)
        self.answered = True

    @rule(lane="CPU 1")
    def use(self) -> None:
        """Accesses the page."""
        frame = self.tlb.access(1, 0, self.page)
        self.after = self.freed and frame == 1
        self.before = not self.freed

    @never("use-after-free", "nobody reaches a frame that was freed")
    def stale(self) -> bool:
        return self.after

    @sometimes("used", "the page is accessed while it is mapped")
    def used(self) -> bool:
        return self.before


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("page", [GLOBAL, PRIVATE])
def test_which_flush_makes_it_safe_to_free(how, page):
    enough = {"page", "all", "broadcast"} | ({"cr3"} if page == PRIVATE else set())
    assert broken(Unmap, how=how, page=page) == (set() if how in enough else {"use-after-free"})


def test_no_flush_means_something_with_pcids_only():
    assert broken(Unmap, how="cr3-no-flush", pcid="no") == set()
    assert broken(Unmap, how="cr3-no-flush", pcid="yes") == {"use-after-free"}


class Switch(Model):
    """One CPU goes from space 0 to 1 and back, while a page of space 0 changes frames."""

    pcid = param(True, "CR4.PCIDE")
    no_flush = param(False, "bit 63 of CR3 on the way back")

    def build(self) -> None:
        self.tlb = Translations(1, 1, 2, spaces=2, pcid=self.pcid)
        self.moved, self.back, self.got = flag(), flag(), upto(2)

    @process(lane="CPU 0")
    def run(self) -> None:
        with atomic("maps"):
            self.tlb.map(0, 0, 1)
        with atomic("switches away"):
            self.tlb.write_cr3(0, 1, no_flush=self.no_flush)
        with atomic("the page moves"):
            self.tlb.map(0, 0, 2)
        with atomic("switches back"):
            self.tlb.write_cr3(0, 0, no_flush=self.no_flush)
            self.back = True
        with atomic("accesses the page"):
            frame = self.tlb.access(0, 0, 0)
            self.got = frame

    @never("old-frame", "the page is where it was moved to")
    def old(self) -> bool:
        return self.got == 1

    @sometimes("new-frame", "the page is reached")
    def new(self) -> bool:
        return self.got == 2


def test_entries_of_a_space_outlive_a_switch_that_does_not_flush():
    assert broken(Switch) == set() and broken(Switch, pcid="no") == set()
    assert broken(Switch, no_flush="yes") == {"old-frame"}
    assert broken(Switch, no_flush="yes", pcid="no") == set()


class FreeTable(Model):
    """A page table is unlinked and freed while another CPU may have kept a pointer to it."""

    no_flush = variant("the other CPU is not made to flush")

    def build(self) -> None:
        self.tlb = Translations(2, 1, 1, tables=True)
        self.asked, self.answered = flag(), flag()

    @process(lane="CPU 0")
    def free(self) -> None:
        with atomic("unlinks the page table"):
            self.tlb.unlink(0)
        if not self.no_flush:
            self.asked = True
            wait(self.answered)
        with atomic("frees it"):
            self.tlb.free_table(0)

    @rule(lane="CPU 1")
    def flush(self) -> None:
        """INVLPG of any page of the space."""
        wait(self.asked and not self.answered)
        self.tlb.flush_page(1, 0)
        self.answered = True

    @never("walks-freed", "CPU 1 walks no page table that was freed")
    def walks(self) -> bool:
        return self.tlb.walks_freed(1)

    @sometimes("kept", "CPU 1 keeps a pointer to the table after it was unlinked")
    def kept(self) -> bool:
        return self.tlb.points[1][0] and not self.tlb.linked[0]


def test_a_page_table_is_freed_after_a_flush_only():
    assert broken(FreeTable) == set() and broken(FreeTable, "no-flush") == {"walks-freed"}


def test_both_explorers_agree_on_these(compiler):
    models = (Unmap(), Unmap({"how": "broadcast"}), Switch({"no_flush": "yes"}), FreeTable({}, "no-flush"))
    assert all(states(model, compiler) > 10 for model in models)


def keeps_it(self, cpu: int, space: int, page: int) -> None:
    pass


def test_a_flush_that_forgets_nothing_is_noticed(monkeypatch):
    monkeypatch.setattr(Translations, "drop", keeps_it)
    assert broken(Unmap, how="all") == {"use-after-free"}
