"""How the tests ask the small models of the hardware."""

from nostale.outside.cc import Compiler
from nostale.prove import Means, Model, compile_model, prove, reference
from nostale.prove.exploration import Bounds
from nostale.prove.explore import explore


def broken(model: type[Model], variant: str = "", **settings: object) -> set[str]:
    """The names of what does not hold, deadlocks aside: these models end where they end."""
    answer = prove(model({name: str(value) for name, value in settings.items()}, variant), "x", Means(None, None))
    assert answer.search is not None and answer.search.complete
    return {one.id.split(".")[1] for one in answer.results if one.verdict.word != "holds"} - {"no-deadlock"}


def stuck(model: type[Model], variant: str = "") -> bool:
    """Whether some process may wait for ever."""
    answer = prove(model({}, variant), "x", Means(None, None))
    return next(one.verdict.word for one in answer.results if one.id.endswith("no-deadlock")) == "violated"


def states(model: Model, compiler: Compiler) -> int:
    """The number of states, on which both explorers agree, as they do on all they found."""
    system = compile_model(model).system
    native = explore(system, compiler=compiler, cache=None, max_states=None, tick=lambda *_: None)[0]
    slow = reference.explore(system, Bounds(1_000_000))
    assert native.search == slow.search and native.found == slow.found
    return slow.search.states
