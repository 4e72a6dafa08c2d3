"""What the guide says is refused is refused in those words, and what it says to write instead is accepted."""

import importlib.util
import itertools
import re
from pathlib import Path

import pytest

from nostale.contract import BadInput
from nostale.prove import compile_model

PAGE = (Path(__file__).resolve().parents[2] / "docs/guide/model.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("| you wrote |")[2].partition("\n\n")[0].splitlines()[2:]
]
MODEL = """\
from nostale.prove import Model, array, atomic, choose, process, upto, wait


class Made(Model):
    def build(self):
        self.x, self.y = upto(3), upto(3)
        self.row = array(3, lambda: upto(3))

    @process(lane="p")
    def run(self):
"""
COUNT = itertools.count()


def model(statements: list[str], place: Path):
    file = place / f"row_{next(COUNT)}.py"
    file.write_text(MODEL + "".join(f"        {statement}\n" for statement in statements))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Made()


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_is_read():
    assert len(ROWS) > 5 and all(len(row) == 3 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_it_is_refused_in_these_words(row, tmp_path):
    with pytest.raises(BadInput) as caught:
        compile_model(model(code(row[0]), tmp_path))
    assert row[1] in str(caught.value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_way_to_write_it_instead_is_accepted(row, tmp_path):
    for way in row[2].split(";"):
        assert code(way)
        compile_model(model(code(way), tmp_path))
