"""The command line: what goes to stdout and stderr, and the exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from nostale.cli import _run
from nostale.cli.common import write_whole
from nostale.systems.entry.demo import build_demo

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schema/result.schema.json").read_text())


def nostale(capsys, *arguments: str) -> tuple[int, str, str]:
    code = _run(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def valid(text: str) -> dict:
    answer = json.loads(text)
    jsonschema.validate(answer, SCHEMA)
    return answer


def test_what_holds_exits_0_and_what_is_violated_1(capsys):
    assert nostale(capsys, "prove", "codegen")[0] == 0
    assert nostale(capsys, "prove", "codegen:no-tail-sync")[0] == 1


def test_a_pipe_or_device_named_as_output_is_written_to_and_never_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "text")
        assert pipe.is_fifo()
        assert os.read(reader, 16) == b"text"
    finally:
        os.close(reader)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        ("--version", {"numpy", "elftools", "iced_x86", "rich", "nostale.prove", "nostale.lint", "nostale.watch"}),
        ("explain TI-7", {"numpy", "elftools", "iced_x86", "rich", "nostale.watch"}),
        ("systems", {"numpy", "elftools", "iced_x86", "rich", "nostale.watch"}),
        ("prove codegen", {"numpy", "elftools", "iced_x86", "nostale.lint", "nostale.watch"}),
        ("lint OBJECT", {"rich", "nostale.prove", "nostale.watch", "multiprocessing", "tomllib", "_hashlib"}),
    ],
)
def test_a_command_loads_what_it_needs_and_nothing_else(objects, command, absent):
    """Starting is what takes longest where the work is small: 40 ms of CPU for numpy, 40 for an engine."""
    arguments = [objects[0] if one == "OBJECT" else one for one in command.split()]
    code = f"import sys\nfrom nostale.cli import _run\n_run({arguments})\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert absent & set(done.stdout.splitlines()[-1].split()) == set()


def test_what_is_unknown_exits_3(capsys):
    assert nostale(capsys, "prove", "codegen", "--max-states", "20")[0] == 3


def test_a_time_limit_that_is_reached_exits_3_and_says_what_was_left(capsys):
    more = ("--set", "readers=6", "--time-limit", "0.5", "--no-cache", "--format", "json")
    code, out, _ = nostale(capsys, "prove", str(ROOT / "docs/examples/rcu.py"), *more)
    answer = valid(out)
    assert code == 3 and not answer["complete"]
    assert any("still to be expanded" in one for result in answer["results"] for one in result.get("missing", []))


@pytest.mark.parametrize("model", ["codegen", "entry"])
def test_a_table_of_every_variant_is_one_object(capsys, model):
    code, out, _ = nostale(capsys, "prove", f"{model}:all", "--format", "json")
    answer = valid(out)
    assert code == 1 and [part["verdict"] for part in answer["parts"]] == ["holds", "violated", "violated", "violated"]


def test_json_names_use_and_rely(capsys):
    answer = valid(nostale(capsys, "prove", "codegen:no-final-sync", "--format", "json")[1])
    of = [result["of"] for result in answer["results"] if result["id"] == "codegen.sync-before-execute"]
    assert of == ["use", "rely"]


def test_parameters_are_set(capsys):
    code, out, _ = nostale(capsys, "prove", "codegen:no-tail-sync", "--set", "fetch=ordered", "--format", "json")
    assert code == 0 and "fetch=ordered" in valid(out)["coverage"]["parameters"]


def test_the_same_question_gives_the_same_bytes(capsys):
    first = nostale(capsys, "prove", "codegen:no-int3", "--no-cache", "--format", "json")[1]
    assert first == nostale(capsys, "prove", "codegen:no-int3", "--format", "json")[1]


@pytest.mark.parametrize("command", ["systems"])
def test_every_json_is_by_the_schema(capsys, command):
    code, out, _ = nostale(capsys, command, "--format", "json")
    assert code == 0 and valid(out)["command"] == command


FAULTS = {
    "prove codgen": "codgen: no model 'codgen'; did you mean codegen or codegen.flip?",
    "prove codegen:tail": "codegen:tail: no variant 'tail'; there is no-int3, no-tail-sync, no-final-sync",
    "prove none.py": "none.py: no such file (likely a mistyped name)",
    "prove MP.litmus": "MP.litmus: no such file (likely a mistyped name)",
    "prove codegen --set cpus": "--set cpus: has no value; write --set cpus=VALUE",
    "lint --rule entry.odrer x.o": "--rule entry.odrer: there is no such rule; "
    "did you mean entry.order or entry.probe-recursion or entry?",
    "watch x.dat --cpu 1-": "--cpu 1-: '1-' is not a CPU or a range of them; such as --cpu 1,4-6",
    "explain entry.noinstr-excape": "entry.noinstr-excape: nothing of that name can be explained; "
    "did you mean entry.noinstr-escape or entry.noinstr-indirect or entry.noinstr-unbalanced?",
    "prov": "no command 'prov'; did you mean prove?; see nostale --help",
}


@pytest.mark.parametrize("command", FAULTS)
def test_a_users_fault_is_one_line_and_exit_2(capsys, command):
    assert nostale(capsys, *command.split()) == (2, "", f"nostale: {FAULTS[command]}\n")


def test_of_many_names_some_are_told(capsys):
    code, out, err = nostale(capsys, "check", "nothing")
    assert code == 2 and out == ""
    assert re.fullmatch(r"nostale: nothing: no such model or file; there is isolation, (\S+, ){6}\d+ more\n", err)


def test_a_missing_argument_names_the_command(capsys):
    line = "nostale prove: Missing argument 'MODEL'; see nostale prove --help\n"
    assert nostale(capsys, "prove") == (2, "", line)


def test_a_model_file_of_the_users_own_is_proved(capsys, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from nostale.prove import *\n"
        "class Mine(Model):\n"
        "    def build(self): self.x = flag()\n"
        "    @process(lane='p')\n"
        "    def run(self): self.x = True\n"
        "    @never('set', 'x is never set')\n"
        "    def bad(self): return self.x\n"
    )
    code, out, _ = nostale(capsys, "prove", str(path), "--format", "json")
    (result,) = [one for one in valid(out)["results"] if one["id"] == "user.set"]
    assert code == 1 and result["path"][0]["source"].endswith("mine.py:5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "defines no model; derive a class from nostale.prove.Model"),
        ("1 / 0\n", ":1: does not run: ZeroDivisionError: division by zero"),
        ("def f(:\n", ":1: does not run: SyntaxError"),
    ],
)
def test_a_model_file_that_is_none_is_told(capsys, tmp_path, text, said):
    path = tmp_path / "mine.py"
    path.write_text(text)
    code, out, err = nostale(capsys, "prove", str(path))
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err


def test_a_fault_of_ours_is_said_to_be_one(capsys, monkeypatch):
    monkeypatch.setattr("nostale.cli.prove.find_model", lambda target: 1 / 0)
    code, out, err = nostale(capsys, "prove", "codegen")
    assert (code, out) == (2, "") and "this is a bug in nostale, please report" in err and "Traceback" in err


def test_output_goes_to_the_file_whole_or_not_at_all(capsys, tmp_path):
    target = tmp_path / "result.json"
    assert nostale(capsys, "prove", "codegen", "--format", "json", "-o", str(target))[:2] == (0, "")
    assert valid(target.read_text())["verdict"] == "holds" and list(tmp_path.iterdir()) == [target]
    code, _, err = nostale(capsys, "prove", "codegen", "-o", str(tmp_path / "no/such/place"))
    assert code == 2 and "cannot be written" in err


def coloured(capsys, *arguments: str) -> bool:
    return "\x1b[" in nostale(capsys, "prove", "codegen", *arguments)[1]


def test_colour_is_as_asked_and_no_color_is_kept_to(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert not coloured(capsys) and coloured(capsys, "--color", "always") and not coloured(capsys, "--color", "never")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert coloured(capsys)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(capsys)


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m nostale systems | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert done.stderr == "" and done.returncode == 0


def test_without_a_compiler_prove_says_who_took_over(capsys, monkeypatch):
    monkeypatch.setenv("CC", "")
    code, out, err = nostale(capsys, "prove", "codegen:no-int3", "--no-cache", "--format", "json")
    monkeypatch.delenv("CC")
    assert "the reference interpreter explored" in err
    assert (code, out) == nostale(capsys, "prove", "codegen:no-int3", "--no-cache", "--format", "json")[:2]


SOURCE = """
.macro FUNC name:req
.globl \\name
.type \\name, @function
\\name:
.endm
.text
FUNC traced
ret
.size traced, .-traced
.section .noinstr.text, "ax"
.pushsection .discard.instr_begin,""; .long exc - .; .popsection
.pushsection .discard.instr_end,""; .long exc - .; .popsection
FUNC exc
nop
{body}
ret
.size exc, .-exc
"""
KNOWN = """
[[accept]]
id = "entry.noinstr-escape"
place = "exc -> traced"
verdict = "violated"
reason = "it is a test"
"""


@pytest.fixture
def objects(compiler, tmp_path):
    """Two objects of one source: one with an escape, the other without."""

    def made(name, body):
        (tmp_path / f"{name}.s").write_text(SOURCE.replace("{body}", body))
        subprocess.run([compiler.path, "-c", "-o", tmp_path / f"{name}.o", tmp_path / f"{name}.s"], check=True)
        return str(tmp_path / f"{name}.o")

    return made("good", "nop"), made("bad", "call traced")


def test_a_known_finding_is_shown_and_does_not_count(capsys, objects, tmp_path):
    (tmp_path / "known.toml").write_text(KNOWN)
    _, bad = objects
    assert nostale(capsys, "lint", bad)[0] == 1
    code, out, _ = nostale(capsys, "lint", "--baseline", str(tmp_path / "known.toml"), bad)
    assert code == 0 and "violated entry.noinstr-escape" in out and "accepted: it is a test" in out
    out = nostale(capsys, "lint", "--baseline", str(tmp_path / "known.toml"), bad, "--format", "json")[1]
    assert [one["accepted"] for one in valid(out)["results"] if "accepted" in one] == ["it is a test"]


def test_an_entry_without_a_finding_is_told_on_stderr(capsys, objects, tmp_path):
    (tmp_path / "known.toml").write_text(KNOWN)
    code, _, err = nostale(capsys, "lint", "--baseline", str(tmp_path / "known.toml"), objects[0])
    assert code == 0 and "accepts nothing any more, remove it: violated entry.noinstr-escape at exc -> traced" in err


def test_a_difference_is_what_is_gained(capsys, objects):
    good, bad = objects
    assert nostale(capsys, "lint", "--diff", bad, bad)[0] == nostale(capsys, "lint", "--diff", bad, good)[0] == 0
    code, out, _ = nostale(capsys, "lint", "--diff", good, bad, "--format", "json")
    answer = valid(out)
    assert code == 1 and (answer["coverage"]["gained"], answer["coverage"]["lost"]) == (1, 0)


def test_sarif_is_written_with_the_pages_of_its_rules(capsys, objects):
    code, out, _ = nostale(capsys, "lint", objects[1], "--format", "sarif")
    (run,) = json.loads(out)["runs"]
    assert code == 1 and [one["ruleId"] for one in run["results"] if one["kind"] == "fail"] == ["entry.noinstr-escape"]
    assert all("## Remedy" in rule["help"]["markdown"] for rule in run["tool"]["driver"]["rules"])


@pytest.mark.parametrize("arguments", [[], ["a.o", "--diff", "b.o", "c.o"]])
def test_images_or_a_difference_but_not_both(capsys, arguments):
    code, out, err = nostale(capsys, "lint", *arguments)
    assert (code, out) == (2, "") and "name an image, or two with --diff OLD NEW" in err


def test_a_baseline_that_cannot_be_read_is_one_line(capsys, objects):
    line = "nostale: none.toml: cannot be read: No such file or directory; name a text file that is there\n"
    assert nostale(capsys, "lint", "--baseline", "none.toml", objects[0]) == (2, "", line)


def test_every_model_is_checked_with_its_variants(capsys):
    code, out, _ = nostale(capsys, "check", "--all", "--format", "json")
    answer = valid(out)
    assert code == 0 and answer["coverage"]["runs"] == len(answer["parts"]) > 40
    assert all(part["verdict"] == part["expected"] for part in answer["parts"])


@pytest.mark.shared
def test_the_case_for_deferral_in_three_ways(capsys, shared):
    image, trace = shared / "data/lint/vmlinux_base.o.xz", shared / "data/watch/text_poke.dat"
    words = ("check", "isolation", "--image", str(image), "--trace", str(trace), "--cpu", "1")
    code, page, _ = nostale(capsys, *words, "--format", "md")
    assert code == 1 and "| entry_SYSCALL_64 | SYSCALL | nothing patchable |" in page
    code, out, _ = nostale(capsys, *words, "--format", "json")
    assert code == 1 and {part["command"] for part in valid(out)["parts"]} == {"prove", "lint", "watch"}


def test_a_case_that_there_is_not(capsys):
    code, out, err = nostale(capsys, "check", "codegen", "--format", "md")
    assert (code, out) == (2, "") and "there is no such case" in err


def test_rules_are_chosen_by_id_or_system(capsys, tmp_path):
    demo = build_demo(tmp_path, broken=True)
    _, out, _ = nostale(capsys, "lint", str(demo), "--rule", "entry.noinstr-unbalanced", "--format", "json")
    assert {one["id"] for one in valid(out)["results"]} == {"entry.noinstr-unbalanced"}
    _, out, _ = nostale(capsys, "lint", str(demo), "--rule", "codegen", "--format", "json")
    assert {one["system"] for one in valid(out)["results"]} == {"codegen"}
