from nostale.contract import Answer, Holds, Result, Unknown, Violated


def answer(*verdicts, **more) -> Answer:
    results = tuple(Result("entry.x", "t", "w", (), v) for v in verdicts)
    return Answer("check", "x", {}, results, **more)


def test_the_worst_verdict_is_the_whole_ones():
    assert answer(Holds(), Unknown("why"), Violated(())).verdict == "violated"
    assert answer(Holds(), Unknown("why")).verdict == "unknown"


def test_an_answer_about_nothing_is_unknown():
    assert answer().verdict == "unknown"


def test_a_demonstration_counts_by_its_expectation():
    kept = answer(parts=(answer(Violated(()), expected="violated"), answer(Holds(), expected="holds")))
    assert kept.verdict == "holds"
    assert answer(parts=(answer(Holds(), expected="violated"),)).verdict == "violated"


def test_what_is_only_reported_does_not_count():
    assert answer(parts=(answer(Holds()), answer(Violated(()), counted=False))).verdict == "holds"
