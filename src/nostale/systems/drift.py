"""The contract between a system's models and an image: what the models stand for is still there."""

from __future__ import annotations

from nostale.contract import Automaton, Contract, Event, Role, Source


def drift_contract(system: str) -> Contract:
    """Return the contract of one system: its models and an image agree."""
    return Contract(
        id=f"{system}.model-drift",
        title="the kernel still calls what the models stand for, in their order",
        why="a proof is about the model; where the kernel has gone another way it says nothing about the kernel",
        remedy="read what changed in the kernel function, and change the model or its `kernel` accordingly",
        keys=("function",),
        observer="function",
        events=(Event("drift", Role.USE, ("function",), "no path of the function makes the calls in this order"),),
        requirements=("TI-9a",),
        sources=(Source("the functions that the models name, Linux v6.12"),),
        automaton=Automaton.of(f"{system}_model_drift", (), initial="agrees", forbidden=("drift",)),
    )
