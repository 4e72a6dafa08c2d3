"""Provokes interruptions of a thread that spins on one CPU, from another CPU, and tells when: a truth to compare with.

Run as a script: `python provoke.py TARGET_CPU ACTOR_CPU ROUNDS OPERATION...`. It says `ready` on stdout once the
spinner spins, waits for a line on stdin, provokes, and prints one JSON object with the thread ids and the times
(CLOCK_MONOTONIC) at which each operation ran. x86-64 Linux only: the spinner is a few bytes of machine code, so that it
needs no GIL.
"""

import ctypes
import json
import mmap
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
MEMBARRIER, TGKILL = 324, 234
MEMBARRIERS = {  # name: command, command that registers for it; include/uapi/linux/membarrier.h
    "membarrier": (32, 64),  # PRIVATE_EXPEDITED_SYNC_CORE
    "membarrier-private": (8, 16),
    "membarrier-rseq": (128, 256),
    "membarrier-global": (2, 4),  # GLOBAL_EXPEDITED
}
SIGEV_THREAD_ID, CLOCK_MONOTONIC = 4, 1
# pause; cmp dword [rdi], 0; je back; ret
SPIN = bytes.fromhex("f390833f0074f9c3")
PAUSE_S = 0.002


class Spinner:
    """A thread that spins on `cpu` until told to stop."""

    def __init__(self, cpu):
        self.code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.code.write(SPIN)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.code))
        self.stop = ctypes.c_int(0)
        self.spin = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(start)
        self.cpu, self.tid, self.started = cpu, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        os.sched_setaffinity(0, {self.cpu})
        self.tid = threading.get_native_id()
        self.started.set()
        self.spin(ctypes.addressof(self.stop))

    def __enter__(self):
        self.thread.start()
        self.started.wait()
        time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.stop.value = 1
        self.thread.join()


class Sleeper:
    """A thread on `cpu` that sleeps in read(2) and goes back to sleep whenever it is woken."""

    def __init__(self, cpu):
        self.cpu, (self.out, self.into) = cpu, os.pipe()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        os.sched_setaffinity(0, {self.cpu})
        while os.read(self.out, 1) == b"w":
            pass

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        os.write(self.into, b"e")
        self.thread.join()


class Toucher(Sleeper):
    """A thread on `cpu` that touches a page of its own whenever it is woken."""

    def run(self):
        os.sched_setaffinity(0, {self.cpu})
        self.tid = threading.get_native_id()
        while os.read(self.out, 1) == b"w":
            pages = mmap.mmap(-1, mmap.PAGESIZE)
            pages[0] = 1
            pages.close()


class SigEvent(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_uint64),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("tid", ctypes.c_int),
        ("pad", ctypes.c_char * 44),
    ]


class Timer:
    """A POSIX timer that sends the spinner a signal half a millisecond after it is armed."""

    def __init__(self, spinner):
        event = SigEvent(signo=int(signal.SIGUSR1), notify=SIGEV_THREAD_ID, tid=spinner.tid)
        self.id = ctypes.c_void_p()
        assert LIBC.timer_create(CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self.id)) == 0

    def __call__(self, _):
        when = (ctypes.c_long * 4)(0, 0, 0, 500_000)
        LIBC.timer_settime(self.id, 0, when, None)
        time.sleep(0.001)


def refresh_statistics(_):
    Path("/proc/sys/vm/stat_refresh").write_text("1")


def membarrier(command):
    return lambda _: LIBC.syscall(MEMBARRIER, command, 0, 0)


class Protect:
    def __init__(self):
        self.pages = mmap.mmap(-1, 16 * mmap.PAGESIZE)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))

    def __call__(self, _):
        for page in range(16):
            self.pages[page * mmap.PAGESIZE] = 1
        LIBC.mprotect(ctypes.c_void_p(self.start), 16 * mmap.PAGESIZE, mmap.PROT_READ)
        LIBC.mprotect(ctypes.c_void_p(self.start), 16 * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)


def send_signal(spinner):
    LIBC.syscall(TGKILL, os.getpid(), spinner.tid, int(signal.SIGUSR1))


def main(target_cpu, actor_cpu, rounds, *names):
    for name in MEMBARRIERS.keys() & set(names):
        assert LIBC.syscall(MEMBARRIER, MEMBARRIERS[name][1], 0, 0) == 0, name
    signal.signal(signal.SIGUSR1, lambda *_: None)
    with ExitStack() as stack:
        operations = {"mprotect": Protect(), "signal": send_signal, "workqueue": refresh_statistics}
        operations |= {name: membarrier(command) for name, (command, _) in MEMBARRIERS.items()}
        if "text" in names:
            from nostale.outside.tracefs import instance

            ours = stack.enter_context(instance())
            ours.write("tracing_on", "0")
            state = iter(("1", "0") * rounds)
            operations["text"] = lambda _: ours.write("events/task/task_rename/enable", next(state))
        if "wakeup" in names:
            sleeper = stack.enter_context(Sleeper(target_cpu))
            operations["wakeup"] = lambda _: os.write(sleeper.into, b"w")
        if "fault" in names:
            toucher = stack.enter_context(Toucher(target_cpu))
            operations["fault"] = lambda _: os.write(toucher.into, b"w")
        spinner = stack.enter_context(Spinner(target_cpu))
        if "timer" in names:
            operations["timer"] = Timer(spinner)
        os.sched_setaffinity(0, {actor_cpu})
        print("ready", flush=True)
        sys.stdin.readline()
        ops = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                time.sleep(PAUSE_S)
                start = time.monotonic_ns()
                operations[name](spinner)
                ops[name].append([start, time.monotonic_ns()])
        time.sleep(PAUSE_S)
        truth = {
            "cpu": target_cpu,
            "actor_cpu": actor_cpu,
            "target_tid": spinner.tid,
            "actor_tid": threading.get_native_id(),
            "toucher_tid": toucher.tid if "fault" in names else None,
            "ops": ops,
        }
        print(json.dumps(truth), flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
