"""Preferences in the report: the figures of the record, and no text that breaks out."""

import lxml.html
import pytest
from payloads import PAYLOADS

from harness.deciding.preferences import run_preferences
from harness.records import Answer, Completion, Judgement, Metric, Run, Sample, fingerprint
from harness.store import Home, Store
from reports.render import elo, write_report

VERDICTS = {"lora": ("win", "win", "win", "inconsistent", "loss"), "spoilt": ("loss", "loss", "tie")}


def write_run(store, candidates):
    """A run of thirty samples, judged against the first candidate."""
    rows = [Sample(id=f"s{i}", split="test", input=f"q {i}", row=i + 1) for i in range(30)]
    answers, judgements = [], []
    base, *others = candidates
    for i, sample in enumerate(rows):
        for name in candidates:
            completion = Completion(text=f"{name} {i}", finish_reason="stop")
            key = fingerprint([name, i])
            answers.append(Answer(key=key, candidate=name, sample_id=sample.id, prompt_sha="p", completion=completion))
        for name, verdicts in [(base, ("identical",)), *zip(others, VERDICTS.values(), strict=True)]:
            verdict = verdicts[i % len(verdicts)]
            score = {"win": 1.0, "loss": 0.0}.get(verdict, 0.5)
            follows = "first" if verdict == "inconsistent" else None
            game = {"verdict": verdict, "score": score, "probability": score, "follows": follows}
            judgements.append(
                Judgement(
                    id=sample.id, metric="preference", score=score, label=verdict, candidate=name,
                    key=fingerprint([name, i, "j"]), evidence={"mode": "sampled", "games": [game], "opponents": [base]},
                )
            )  # fmt: skip
    suite = {"judges": {"preference": {"kind": "pairwise", "criteria": "c"}}, "gate": {"baseline": base}}
    run = Run(
        id="run-1", key="k", suite="s", suite_version=1, suite_sha="a", data_sha="b", status="complete",
        started="2026-01-01T00:00:00+00:00", finished="2026-01-01T00:01:00+00:00", seconds=60.0,
        candidates={name: fingerprint(name) for name in candidates}, metrics=(Metric(name="preference"),),
        judges={"preference": "f"}, record={"suite": suite},
    )  # fmt: skip
    store.write_run(run, samples=rows, answers=answers, judgements=judgements, trainings=[])
    return run


def page_of(tmp_path, candidates):
    """The report's page and the preferences that it shows."""
    with Store.open(Home(tmp_path)) as store:
        run = write_run(store, candidates)
        path = write_report(store, [run.id], tmp_path / "report.html")
        [one] = run_preferences(store, run)
    return lxml.html.fromstring(path.read_text(encoding="utf-8")), one


def test_strengths_ranks_and_duels_are_the_records(tmp_path):
    """Each row has the candidate's Elo points, ranks and points against each opponent; the bias stands below the table."""
    page, one = page_of(tmp_path, ["base", "lora", "spoilt"])
    [card] = page.xpath("//div[@data-metric='preference' and contains(@class, 'preference')]")
    rows = card.xpath(".//tbody/tr")
    assert [row.xpath("./th")[0].text_content().strip() for row in rows] == ["lora", "base", "spoilt"]
    for row, standing in zip(rows, one.standings, strict=True):
        [cell] = row.xpath("./td[@data-elo]")
        assert float(cell.get("data-elo")) == standing.elo
        assert elo(standing.elo) in cell.text_content()
        ranks = "–".join(map(str, dict.fromkeys(standing.ranks)))
        assert f"rank {ranks}" in cell.text_content()
        for against in row.xpath("./td[@data-against]"):
            duel = one.duels.get((standing.candidate, against.get("data-against")))
            assert (f"{duel.games} games" in against.text_content()) if duel else ("–" in against.text_content())
    assert one.duels["lora", "base"].share == pytest.approx((18 + 3) / 30)
    assert "10.0 %" in card.text_content()  # 6 of 60 games
    assert "6 times the first answer" in card.text_content()


def test_a_run_without_a_pairwise_judge_has_no_such_section(page):
    """The usual report says nothing of preferences."""
    assert not page.xpath("//div[contains(@class, 'preference')]")


def test_names_cannot_break_out(tmp_path):
    """Candidates with hostile names add no element and no attribute to the page."""
    names = [f"{payload} {i}" for i, payload in enumerate(list(PAYLOADS)[:3])]
    page, one = page_of(tmp_path, names)
    usual, _ = page_of(tmp_path / "usual", ["base", "lora", "spoilt"])
    elements = [sorted(e.tag for e in p.xpath("//div[contains(@class, 'preference')]//*")) for p in (page, usual)]
    assert elements[0] == elements[1]
    assert one.reference == names[0]
