"""Every interleaving: models in Python, a reference interpreter and a generated explorer, and what they prove."""

from nostale.prove.exploration import Crew, Progress
from nostale.prove.frontend import Compiled, compile_model
from nostale.prove.language import (
    Bind,
    Component,
    Model,
    always,
    array,
    atomic,
    choose,
    event,
    flag,
    never,
    one_of,
    param,
    process,
    rule,
    sometimes,
    upto,
    variant,
    wait,
)
from nostale.prove.proof import Means, prove

__all__ = [
    "Bind",
    "Compiled",
    "Component",
    "Crew",
    "Means",
    "Model",
    "Progress",
    "always",
    "array",
    "atomic",
    "choose",
    "compile_model",
    "event",
    "flag",
    "never",
    "one_of",
    "param",
    "process",
    "prove",
    "rule",
    "sometimes",
    "upto",
    "variant",
    "wait",
]  # fmt: skip
