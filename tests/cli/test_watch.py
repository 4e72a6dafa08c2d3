"""The watch command: its answers are of the schema, its exit codes say what they mean, its faults are one line."""

import json

import jsonschema
import pytest

from nostale.cli.check import recording
from tests.cli.test_commands import SCHEMA, nostale

WHOLE = ("watch", str(recording()), "--cpu", "1")


def answer(capsys, *arguments):
    code, out, _ = nostale(capsys, *arguments, "--format", "json")
    told = json.loads(out)
    jsonschema.validate(told, SCHEMA)
    return code, told


def test_what_if_causes_and_gaps_are_in_the_json(capsys, tmp_path):
    first = answer(capsys, *WHOLE)[1]["breaks"][0]["start_ns"]
    samples = tmp_path / "gaps.json"
    samples.write_text(json.dumps({"cpu": 1, "gaps": [[first, first + 10], [0, 1]]}))
    _, told = answer(capsys, *WHOLE, "--what-if", "--gaps", str(samples))
    assert {one["measure"] for one in told["breaks"][0]["what_if"]} >= {"nohz_full", "defer-text-patch"}
    assert sum(one["count"] for one in told["causes"]) == len(told["breaks"])
    assert (told["coverage"]["gap_samples"], told["coverage"]["gap_samples_outside"]) == (2, 1)
    assert all(one["remedy_source"] for one in told["breaks"] if one["remedy"])


def test_a_budget_alone_is_judged_and_decides_the_exit_code(capsys):
    code, told = answer(capsys, *WHOLE, "--no-own", "--budget", "membarrier=8", "--budget", "signal=8")
    assert (code, [one["verdict"] for one in told["results"]]) == (0, ["holds", "holds"])
    code, told = answer(capsys, *WHOLE, "--no-own", "--budget", "membarrier=7")
    assert (code, told["results"][0]["id"]) == (1, "isolation.budget-membarrier")
    assert len(told["results"][0]["path"]) == 8


def test_a_budget_of_the_tasks_own_entries_counts_them_though_they_are_not_asked_for(capsys):
    assert answer(capsys, *WHOLE, "--no-own", "--budget", "self=0")[0] == 1


def test_a_recording_compared_with_itself_has_not_changed(capsys):
    code, told = answer(capsys, "watch", "--diff", str(recording()), str(recording()), "--cpu", "1")
    assert code == 0
    assert told["changes"] and not any(one["changed"] for one in told["changes"])


def test_a_contract_of_ones_own_is_judged_in_place_of_the_others(capsys, tmp_path):
    (tmp_path / "t.dot").write_text('digraph t { "__init_x" -> "x"; "x" -> "x" [ label = "tick" ]; }')
    (tmp_path / "t.toml").write_text('[events.tick]\non = ["local_timer_entry"]\n')
    code, told = answer(capsys, *WHOLE, "--contract", str(tmp_path / "t.dot"), "--bind", str(tmp_path / "t.toml"))
    assert (code, [one["id"] for one in told["results"]]) == (0, ["user.t"])


@pytest.mark.parametrize(("form", "start"), [("html", "<!doctype html>"), ("perfetto", '{"displayTimeUnit":"ns"')])
def test_a_page_and_a_file_for_a_viewer_are_written(capsys, tmp_path, form, start):
    target = tmp_path / "out"
    nostale(capsys, *WHOLE, "--format", form, "-o", str(target))
    assert target.read_text().startswith(start)


FAULTS = {
    ("--contract", "x.dot"): "--contract FILE.dot and --bind FILE.toml belong together",
    ("--until-break", "10us"): "--seconds, --until-break, --record, --sample-gaps and --memory are for watching live",
    ("--budget", "tock=1"): "no cause 'tock'",
    ("--gaps", "no-such.json"): "no-such.json: cannot be read: No such file or directory",
    ("--until-break", "soon"): "--until-break soon: not a length of time such as 10us, 2ms or 1s",
}


@pytest.mark.parametrize("options", FAULTS)
def test_a_users_fault_is_one_line(capsys, options):
    code, out, err = nostale(capsys, *WHOLE, *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert FAULTS[options] in err


def test_a_difference_has_no_timeline(capsys):
    pair = [str(recording())] * 2
    assert "has no timeline" in nostale(capsys, "watch", "--diff", *pair, "--format", "perfetto")[2]


def test_gap_samples_need_a_cpu(capsys):
    code, _, err = nostale(capsys, "watch", "live", "--sample-gaps")
    assert (code, "--sample-gaps: needs to know where to spin" in err) == (2, True)


def test_the_page_of_options_names_every_cause_once(capsys):
    """What --budget takes is what --budget refuses names."""
    from nostale.contract import Work

    err = nostale(capsys, *WHOLE, "--budget", "x=1")[2]
    assert all(str(work) in err for work in Work)
