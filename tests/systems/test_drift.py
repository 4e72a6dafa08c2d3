"""A model that has drifted from the kernel: found on compiled functions, in objects as gcc makes them."""

import pytest

from nostale.lint import lint, load_image
from nostale.outside.cc import build as build_object
from nostale.systems.codegen import SYSTEM as CODEGEN
from nostale.systems.codegen.contract import MODEL_DRIFT
from nostale.systems.drift_rule import drift_rule
from nostale.systems.isolation import SYSTEM as ISOLATION
from nostale.systems.lazytlb import SYSTEM as LAZYTLB

KERNEL = (("patch", ("poke|__poke", "sync", "poke|__poke")),)
DECLARED = "void poke(void); void __poke(void); void sync(void); int maybe(void);\n"


@pytest.fixture
def build(compiler, tmp_path):
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "patch.c"

    def run(text):
        source.write_text(text)
        return build_object(compiler, [source], ("-c", "-O2", "-fno-asynchronous-unwind-tables"))

    return run


def verdict(build, body, kernel=KERNEL):
    made = build(DECLARED + f"void patch(void) {{ {body} }}")
    answer = lint(load_image(made), [drift_rule("codegen", MODEL_DRIFT, kernel)])
    return [one.verdict.word for one in answer.results]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("poke(); sync(); poke();", ["holds"]),
        ("__poke(); maybe(); sync(); __poke();", ["holds"]),
        ("if (maybe()) { poke(); sync(); } poke();", ["holds"]),
        ("while (maybe()) { sync(); poke(); }", ["holds"]),  # around the loop it is poke, sync, poke
        ("poke(); poke(); sync();", ["violated"]),
        ("if (maybe()) { sync(); poke(); } else { poke(); poke(); }", ["violated"]),
        ("poke(); poke();", ["unknown"]),  # sync() may be inlined
    ],
)
def test_the_order_is_looked_for_on_every_path(build, body, wanted):
    assert verdict(build, body) == wanted


def test_an_image_without_such_functions_is_not_judged(build):
    assert verdict(build, "poke();", (("elsewhere", ("poke",)),)) == []


@pytest.mark.shared
@pytest.mark.parametrize("system", [CODEGEN, ISOLATION, LAZYTLB], ids=lambda one: one.name)
def test_the_models_agree_with_the_kernel(shared, system):
    rules = [rule for rule in system.rules() if rule.id.endswith("model-drift")]
    answer = lint(load_image(shared / "data/lint/vmlinux_base.o.xz"), rules)
    assert [one.verdict.word for one in answer.results] == ["holds"]
