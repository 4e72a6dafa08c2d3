"""The classic shapes of memory-model tests as straight-line programs, for any memory of the library."""

from nostale.prove import compile_model, reference
from nostale.prove.exploration import Bounds
from nostale.prove.hardware import MEMORIES
from nostale.prove.litmus.program import Operation, Program, StraightLine, Wanted

X, Y = 0, 1


def threads(text: str) -> tuple[tuple[Operation, ...], ...]:
    """Read `x=1 wmb y=1 | r0=y rmb r1=x`; `=.` is a release or an acquire, `r0<-x=1` an exchange."""
    return tuple(tuple(operation(word) for word in part.split()) for part in text.split("|"))


def operation(word: str) -> Operation:
    fences = {"mb": "fence", "wmb": "store_fence", "rmb": "load_fence"}
    if word in fences:
        return Operation(fences[word])
    if "<-" in word:
        register, rest = word.split("<-")
        return Operation("exchange", "xyz".index(rest[0]), int(register[1]), value=int(rest[2]))
    left, right = word.replace("=.", "=").split("=")
    strong = "=." in word
    if left in "xyz":
        return Operation("store_release" if strong else "store", "xyz".index(left), value=int(right))
    return Operation("load_acquire" if strong else "load", "xyz".index(right), int(left[1]))


def wanted(text: str) -> tuple[tuple[Wanted, ...], ...]:
    """Read `1:r0=1 1:r1=0 x=2`, a conjunction."""
    atoms = []
    for atom in text.split():
        place, value = atom.split("=")
        thread, colon, register = place.partition(":")
        where = (int(thread), int(register[1])) if colon else (-1, "xyz".index(place))
        atoms.append(Wanted(*where, int(value)))
    return (tuple(atoms),)


def model(text: str, asked: str, memory: str) -> StraightLine:
    code = threads(text)
    program = Program(code, tuple((0,) * 3 for _ in code), (0, 0, 0), 3, wanted(asked))
    return StraightLine(program, MEMORIES[memory])


def reached(text: str, asked: str, memory: str) -> bool:
    """Whether some execution ends as asked."""
    compiled = compile_model(model(text, asked, memory))
    number = next(one.number for one in compiled.properties if one.name == "outcome")
    explored = reference.explore(compiled.system, Bounds(400_000))
    assert explored.search.complete
    return number in explored.found
