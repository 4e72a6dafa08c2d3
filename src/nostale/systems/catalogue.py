"""The five systems, written out."""

from nostale.systems import accel, codegen, entry, isolation, lazytlb
from nostale.systems.system import System

SYSTEMS: tuple[System, ...] = (isolation.SYSTEM, entry.SYSTEM, lazytlb.SYSTEM, accel.SYSTEM, codegen.SYSTEM)
