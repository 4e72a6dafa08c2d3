"""The models of isolation and codegen: pinned counts, every variant's verdict, where a parameter matters."""

import pytest

from nostale.outside.cache import Cache
from nostale.outside.cc import find_compiler
from nostale.prove import Means, ablate, prove
from nostale.systems import codegen, isolation

MODELS = (*isolation.SYSTEM.models(), *codegen.SYSTEM.models()[1:])  # the first has tests of its own
PINNED = {
    "TellEverybody": 588, "WorkBit": 2_353, "Cr3CatchUp": 2_466, "KernelTlb": 1_832, "StatusWord": 9_142,
    "FreshCode": 10, "Flip": 7, "DoubleBuffer": 71, "WxPhases": 27,
}  # fmt: skip


WHERE_ALL_MATTERS = {
    "FreshCode": {"arch": "arm64", "history": "rox-reused", "sync": "ipi"},
    "Flip": {"in_the_way": "yes"},
}


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    return Means(find_compiler(), Cache(tmp_path_factory.mktemp("cache")))


def violated(answer):
    return {r.id for r in answer.results if r.verdict.word == "violated"}


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_the_model_holds_in_as_many_states_as_ever(model, means):
    answer = prove(model(), model.__name__, means)
    assert violated(answer) == set() and answer.search.states == PINNED[model.__name__]


@pytest.mark.parametrize(
    ("model", "variant"), [(m, v) for m in MODELS for v in m.variants()], ids=lambda x: getattr(x, "__name__", x)
)
def test_a_variant_does_what_it_is_there_for(model, variant, means):
    answer = prove(model({}, variant), variant, means)
    assert answer.verdict == model.variants()[variant].expect
    if answer.verdict == "violated":
        assert any(not one.partition(".")[2].startswith("scene") for one in violated(answer)), "only a scene is missing"


@pytest.mark.parametrize(
    ("name", "variant", "settings", "wanted"),
    [
        ("WorkBit", "latch-late", {"primitive": "IRET"}, {"isolation.one-nmi"}),
        ("WorkBit", "", {"primitive": "IRET"}, set()),
        ("WorkBit", "", {"bit": "taken"}, {"isolation.deferred-sync"}),
        ("WorkBit", "", {"bit": "taken", "nmis": "0"}, set()),
        ("Cr3CatchUp", "early-clear", {"nmis": "0"}, set()),
        ("Cr3CatchUp", "", {"pti": "no"}, {"isolation.scene-spared"}),  # nobody is ever spared
        ("FreshCode", "", {"history": "rox-filled"}, {"codegen.old-code"}),
        ("FreshCode", "", {"history": "rox-filled", "speculation": "no"}, set()),
        ("FreshCode", "", {"history": "rox-reused", "speculation": "no"}, {"codegen.old-code"}),
        ("FreshCode", "no-maintenance", {"arch": "arm64"}, {"codegen.old-code"}),
        ("FreshCode", "silent-sync", {"arch": "riscv", "sync": "ipi"}, {"codegen.old-code"}),
        ("Flip", "", {"means": "rcu"}, {"codegen.late"}),
        ("KernelTlb", "", {"cnp": "yes"}, {"isolation.deferred-flush"}),
        ("KernelTlb", "", {"cnp": "yes", "deferred": "no"}, set()),
    ],
)
def test_what_matters_where(name, variant, settings, wanted, means):
    model = next(m for m in MODELS if m.__name__ == name)
    assert violated(prove(model(settings, variant), name, means)) == wanted


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_what_can_be_taken_away_is_needed(model, means):
    answer = ablate(model(WHERE_ALL_MATTERS.get(model.__name__, {})), model.__name__, means)
    assert answer.coverage["not needed by themselves"] in ([], "none")
