"""G-Eval on recorded samples: the whole way through the openai client, and agreement with people as computed by hand."""

import re

import numpy as np
import pytest

from tests.judges import recorded_geval
from tests.judges.recorded_geval import PUBLISHED, RECORDED, SCALES, load_items, replay

pytestmark = pytest.mark.skipif(not RECORDED.is_file(), reason="needs the recorded samples in ../shared/data")
LABELS = re.compile(r"(?i)\b(response|rating|score|coherence|naturalness|engagingness|groundedness):")


def by_hand(sample, scale):
    """A recorded sample's score by rules written for this file alone: its labels taken out, its first word a number."""
    words = LABELS.sub(" ", sample).replace("-", " ").split()
    if len(words) > 1 and re.fullmatch(r"\d\.", words[0]) and re.fullmatch(r"\d\.?", words[1]):
        words = words[1:]  # the number of a list
    number = re.fullmatch(r"(\d(?:\.\d+)?)\.?(?:/3)?", words[0]) if words and "\n2." not in sample else None
    return float(number[1]) if number and scale[0] <= float(number[1]) <= scale[1] else None


def table(aspect):
    """Human ratings [items], and for each item its readable scores."""
    items = load_items(aspect)
    read = [[by_hand(sample, SCALES[aspect]) for sample in item.samples] for item in items]
    return np.array([item.human for item in items]), [[s for s in row if s is not None] for row in read]


def r(scores, human):
    """Pearson's correlation."""
    return float(np.corrcoef(scores, human)[0, 1])


@pytest.mark.parametrize("aspect", SCALES)
def test_replayed_samples_give_the_correlations_computed_by_hand(tmp_path, aspect):
    """Every raw score is the mean of the readable samples; what could not be read is counted; Pearson's r follows."""
    items = load_items(aspect)
    [lines], server = replay(tmp_path, aspect, items)
    human, read = table(aspect)
    evidence = [line["evidence"] for line in lines]
    assert [line["id"] for line in lines] == [item.number for item in items]
    assert {row["mode"] for row in evidence} == {"sampled"}
    assert [row["raw"] for row in evidence] == pytest.approx([np.mean(row) for row in read], abs=1e-12)
    assert [(row["n"], row["unparsable"]) for row in evidence] == [(len(row), 20 - len(row)) for row in read]
    errors = [np.std(row, ddof=1) / np.sqrt(len(row)) for row in read]
    assert [row["standard_error"] for row in evidence] == pytest.approx(errors, abs=1e-12)
    found = r([line["score"] for line in lines], human)
    assert found == pytest.approx(r([np.mean(row) for row in read], human), abs=1e-6)
    assert found == pytest.approx(PUBLISHED["mean of 20"][aspect], abs=0.1)  # theirs is on twice as many items
    assert (server.refused, server.steps_written) == (1, 1)


def test_one_sample_is_the_same_pipeline_with_samples_1(tmp_path):
    """The first recorded sample alone; the steps written for the first run serve the second."""
    items = [item for item in load_items("coherence") if by_hand(item.samples[0], (1, 3)) is not None][:40]
    [_, lines], server = replay(tmp_path, "coherence", items, samples=(20, 1))
    assert [line["evidence"]["raw"] for line in lines] == [by_hand(item.samples[0], (1, 3)) for item in items]
    assert {line["evidence"]["standard_error"] for line in lines} == {None}
    assert server.steps_written == 1


def test_the_mean_of_20_beats_one_sample_and_the_majority():
    """Direction in every aspect, and on average the published size: .139 over one sample, .106 over the majority."""
    found = {aspect: recorded_geval.estimators(*table(aspect)) for aspect in SCALES}
    for name in ("one sample", "majority"):
        gains = [row["mean of 20"] - row[name] for row in found.values()]
        published = [PUBLISHED["mean of 20"][aspect] - PUBLISHED[name][aspect] for aspect in SCALES]
        assert np.mean(gains) == pytest.approx(np.mean(published), abs=0.06)
    assert all(row["mean of 20"] > row["one sample"] for row in found.values())
