"""Many images in one run: what a directory stands for, the order, and what one that cannot be read does to the rest."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import time
from pathlib import Path

import jsonschema
import pytest

from nostale.cli import _run
from nostale.cli.many import images_in, worked_through_at_once
from nostale.contract import Answer, BadInput
from nostale.outside.cc import find_compiler
from nostale.systems.entry.demo import build_demo

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "schema/result.schema.json").read_text())


def touched(directory, *names):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return [directory / name for name in names]


def test_a_directory_stands_for_the_images_below_it_by_name(tmp_path):
    touched(tmp_path, "fs/b.ko.xz", "fs/a.ko", "net/c.ko.zst", "lib.o", "vmlinux", "vmlinux.xz")
    touched(tmp_path, "notes.txt", "x.mod.c", "fs/old.ko.gz", "vmlinux.map", "ko")
    found = [str(path.relative_to(tmp_path)) for path in images_in([tmp_path])]
    assert found == ["fs/a.ko", "fs/b.ko.xz", "lib.o", "net/c.ko.zst", "vmlinux", "vmlinux.xz"]


def test_files_and_directories_keep_the_order_they_are_given_in(tmp_path):
    late, early = touched(tmp_path, "z.bin", "m/a.ko")
    assert images_in([late, tmp_path / "m"]) == (late, early)


def test_a_directory_without_images_is_refused(tmp_path):
    touched(tmp_path, "README")
    with pytest.raises(BadInput, match="a directory without kernel images"):
        images_in([tmp_path])


def slow_first(path):
    time.sleep(0.2 if path.name == "0" else 0)
    return Answer("lint", path.name, {"process": os.getpid()}, ())


def dying(path):
    if path.name == "2":
        os._exit(1)
    if path.name == "3":
        raise BadInput("3", "is odd")
    return Answer("lint", path.name, {}, ())


def test_answers_come_in_the_order_of_the_targets_from_other_processes(tmp_path):
    targets = [tmp_path / str(number) for number in range(8)]
    answers, failed = worked_through_at_once(targets, slow_first, "try")
    assert [answer.target for answer in answers] == [path.name for path in targets]
    assert os.getpid() not in {answer.coverage["process"] for answer in answers}
    assert failed == 0


def test_a_process_that_is_ended_and_one_that_refuses_do_not_take_the_others_with_them(tmp_path, capsys):
    targets = [tmp_path / str(number) for number in range(7)]
    answers, failed = worked_through_at_once(targets, dying, "try")
    assert [answer.target for answer in answers] == ["0", "1", "4", "5", "6"]
    assert failed == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2].split(" (")[0] for line in told] == ["the process that read it was ended", "is odd"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with an image that holds, one that is violated and one that is no image."""
    if find_compiler() is None:
        pytest.skip("no C compiler (cc, gcc, clang)")
    directory = tmp_path_factory.mktemp("tree")
    good = build_demo(directory, broken=False)
    shutil.copy(good, directory / "a.ko")
    bad = build_demo(directory, broken=True)
    (directory / "b.ko.xz").write_bytes(lzma.compress(bad.read_bytes()))
    for path in (good, bad):
        path.unlink()
    return directory


def lint(capsys, *arguments):
    """Return the exit code, the answer and what was said on stderr."""
    code = _run(["lint", *map(str, arguments), "--format", "json"])
    out, err = capsys.readouterr()
    answer = json.loads(out)
    jsonschema.validate(answer, SCHEMA)
    return code, answer, err


def test_each_image_of_a_tree_has_its_answer_and_the_worst_is_the_exit_code(tree, capsys):
    code, answer, _ = lint(capsys, tree)
    assert code == 1
    assert [(part["target"], part["verdict"]) for part in answer["parts"]] == [
        (str(tree / "a.ko"), "holds"),
        (str(tree / "b.ko.xz"), "violated"),
    ]
    assert answer["coverage"] == {"images": 2, "holds": 1, "unknown": 0, "violated": 1}
    assert answer["verdict"] == "violated"


def test_one_that_cannot_be_read_is_exit_2_and_the_others_are_still_reported(tree, tmp_path, capsys):
    broken = tmp_path / "broken.ko"
    broken.write_bytes(b"\x7fELF")
    code, answer, err = lint(capsys, broken, tree)
    assert code == 2
    assert [part["verdict"] for part in answer["parts"]] == ["holds", "violated"]
    assert "less than an ELF header" in err
