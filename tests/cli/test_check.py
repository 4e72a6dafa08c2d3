"""nostale check: the demonstrations, and whatever a target is."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from nostale.contract import NotPermitted
from nostale.systems.entry.demo import build_demo
from nostale.systems.isolation.demo import recording
from tests.cli.test_commands import SCHEMA, nostale


@pytest.fixture
def not_traced(monkeypatch):
    def refuse(*_, **__):
        raise NotPermitted("tracefs", "may not be read", remedy="run as root")

    monkeypatch.setattr("nostale.cli.check.watch_live", refuse)


def checked(capsys, *arguments: str):
    code, out, err = nostale(capsys, "check", *arguments, "--format", "json")
    answer = json.loads(out)
    jsonschema.validate(answer, SCHEMA)
    return code, answer, err


def test_every_demonstration_comes_out_as_expected(capsys, compiler, not_traced):
    code, answer, _ = checked(capsys)
    assert code == 0 and answer["verdict"] == "holds"
    told = [(part["target"], part["verdict"], part.get("expected")) for part in answer["parts"]]
    assert told == [
        ("codegen", "holds", "holds"),
        ("codegen:no-tail-sync", "violated", "violated"),
        ("demo.o", "holds", "holds"),
        ("demo-broken.o", "violated", "violated"),
        ("the bundled recording", "unknown", None),
    ]


def test_a_machine_that_may_not_be_traced_is_told_and_the_recording_taken(capsys, compiler, not_traced):
    _, answer, err = checked(capsys)
    assert "note: this machine is not watched: tracefs: may not be read; run as root\n" in err
    assert {one["cause"]["kind"] for one in answer["parts"][-1]["breaks"]} >= {"membarrier", "tlb-flush", "text-patch"}


def test_a_demonstration_that_comes_out_otherwise_fails_the_check(capsys, compiler, not_traced, monkeypatch):
    monkeypatch.setattr("nostale.cli.check.build_demo", lambda directory, broken: build_demo(directory, broken=True))
    code, answer, _ = checked(capsys)
    assert code == 1 and answer["verdict"] == "violated"


def test_without_a_compiler_what_can_be_checked_is_and_the_rest_is_said(capsys, not_traced, monkeypatch):
    monkeypatch.setenv("CC", "")
    code, answer, err = checked(capsys)
    assert code == 2 and [part["target"] for part in answer["parts"]][:2] == ["codegen", "codegen:no-tail-sync"]
    assert err.count("nostale: the demonstration object: no C compiler found; install gcc or clang\n") == 2


def test_targets_are_told_apart_by_content(capsys, compiler, tmp_path):
    image = build_demo(tmp_path, broken=True).rename(tmp_path / "image")
    code, answer, _ = checked(capsys, "codegen", str(image), str(recording()))
    assert code == 1
    assert [part["command"] for part in answer["parts"]] == ["prove", "lint", "watch"]


def test_one_target_that_cannot_be_checked_does_not_stop_the_others(capsys, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    code, answer, err = checked(capsys, str(other), "codegen")
    assert code == 2 and [part["target"] for part in answer["parts"]] == ["codegen"]
    assert err.startswith(f"nostale: {other}: neither an ELF image, a trace nor a model")


@pytest.mark.parametrize("command", ["lint", "watch"])
@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x17\x08\x44tracing7\0", b"\xfd7zXZ\x00rest", bytes(4096)])
def test_a_foreign_or_cut_file_is_one_line_and_exit_2(capsys, tmp_path, command, content):
    path = tmp_path / "given"
    path.write_bytes(content)
    code, out, err = nostale(capsys, command, str(path))
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith(f"nostale: {path}: ")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_there_is_told(capsys):
    for command in ("lint", "watch"):
        code, _, err = nostale(capsys, command, "no-such-file")
        assert code == 2 and err.startswith("nostale: no-such-file: ")


def test_lint_prints_the_place_and_the_callee(capsys, compiler, tmp_path):
    demo = build_demo(tmp_path, broken=True)
    code, out, _ = nostale(capsys, "lint", str(demo), "--format", "json")
    last = [one["path"][-1] for one in json.loads(out)["results"] if one["id"] == "entry.noinstr-escape"]
    (step,) = last
    assert code == 1 and re.fullmatch(r"demo_exception\+0x[0-9a-f]+", step["place"]) and step["callee"] == "demo_note"


def test_several_images_are_one_object(capsys, compiler, tmp_path):
    good, bad = build_demo(tmp_path, broken=False), build_demo(tmp_path, broken=True)
    code, out, _ = nostale(capsys, "lint", str(good), str(bad), "--format", "json")
    answer = json.loads(out)
    jsonschema.validate(answer, SCHEMA)
    assert code == 1 and [part["verdict"] for part in answer["parts"]] == ["holds", "violated"]


def test_watching_one_thread_leaves_the_others_out(capsys):
    def pids(*more):
        out = nostale(capsys, "watch", str(recording()), "--cpu", "1", "--format", "json", *more)[1]
        jsonschema.validate(json.loads(out), SCHEMA)
        return {one["pid"] for one in json.loads(out)["breaks"]}

    spinner = json.loads(Path(recording()).with_suffix(".json").read_text())["target_tid"]
    assert pids("--pid", str(spinner)) == {spinner} < pids()
