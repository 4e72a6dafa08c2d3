"""Functions that do not return: a walk stops at a call to one."""

from __future__ import annotations

from dataclasses import dataclass, field

from nostale.lint.image import Class, Image
from nostale.lint.symbols import Symbol
from nostale.lint.targets import INDIRECT_THUNKS, RETURN_THUNK, TRAMPOLINE, Target, Targets
from nostale.outside.instruction import Kind

# Declared __noreturn in include/linux (panic.h, kernel.h, sched/task.h, kthread.h, reboot.h, start_kernel.h, cpu.h) or
# arch/x86/include/asm, v6.12, and needed only where the image refers to them without defining them.
_EXTERNAL = frozenset(
    {
        "__fortify_panic",
        "__module_put_and_kthread_exit",
        "__stack_chk_fail",
        "cpu_startup_entry",
        "do_exit",
        "do_group_exit",
        "do_task_dead",
        "kthread_complete_and_exit",
        "kthread_exit",
        "machine_real_restart",
        "make_task_dead",
        "nmi_panic_self_stop",
        "panic",
        "panic_smp_self_stop",
        "rest_init",
        "rewind_stack_and_make_dead",
        "start_kernel",
        "stop_this_cpu",
        "x86_64_start_kernel",
        "x86_64_start_reservations",
    }
)
_DEEPEST = 5  # tail calls followed; a function that goes on to another that never returns does not return either


@dataclass(slots=True)
class NoReturn:
    """Tells, for one image, which calls are not come back from."""

    image: Image
    targets: Targets
    _known: dict[int, bool] = field(default_factory=dict)

    def never(self, target: Target) -> bool:
        """Return whether a call of `target` is never come back from; False where that cannot be told."""
        if target.address is None:
            return target.name in _EXTERNAL
        function = self.image.symbols.functions.starting(target.address)
        # A weak function may be another one in the end.
        if function is None or function.bind == "weak":
            return False
        return self._never(function, _DEEPEST)

    def _never(self, function: Symbol, depth: int) -> bool:
        if function.index not in self._known:
            self._known[function.index] = False  # while it is looked at: a cycle of tail calls is no proof
            self._known[function.index] = self._no_way_back(function, depth)
        return self._known[function.index]

    def _no_way_back(self, function: Symbol, depth: int) -> bool:
        """Look at every instruction, reached or not: no return, no jump that might return on its behalf."""
        if function.address is None:
            return False
        thunk = self.image.symbols.named(RETURN_THUNK)
        if thunk is not None and self.image.relocated(function.address, function.end, thunk):
            return False  # a jump to the thunk is a return: told without decoding
        body = self.image.decoded(function.address, function.end)
        for one in body:
            kind = one[2]
            if kind in (Kind.RETURN, Kind.RESUME, Kind.JUMP_INDIRECT, Kind.INVALID, Kind.DATA):
                return False
            if kind in (Kind.JUMP, Kind.BRANCH) and not self._stays(one[0], function, depth):
                return False
        return bool(body)

    def _stays(self, address: int, function: Symbol, depth: int) -> bool:
        """Return whether the jump at `address` stays in the function or goes to one that does not return."""
        one = self.image.instruction(address)
        assert one is not None
        target = self.targets.near(one)
        if target.name == RETURN_THUNK or target.name.startswith((*INDIRECT_THUNKS, TRAMPOLINE)):
            return False
        if target.address is None:
            return target.name in _EXTERNAL
        owner = self.image.symbols.functions.containing(target.address)
        if owner is None:
            # static_cpu_has() puts a piece of its function there; any other label is code that may return.
            return target.kind is Class.ALTERNATIVE
        if owner.index == function.index:
            return True
        return depth > 0 and self._never(owner, depth - 1)
