"""Relevancy: does the answer address the input, informatively and concisely.

**A sentence's relevance** is a small logistic combination of five kinds of evidence, each shown per sentence:

- `answers`: P(relevant | input, passage) of a classifier of pairs, the passage being the sentence with its neighbours up
  to `PASSAGE_WORDS` words; it tells an answer from a remark on the topic, and reads only one passage at a time, so in an
  answer of n passages it weighs an n-th;
- `similarity`: the cosine of the embeddings of sentence and input;
- `words`: the share of the input's content words that the sentence takes up;
- `type`: 1 where the input asks for a number, a time, a person or a place and the sentence has a new one, -1 where it has
  none, 0 where the input asks for none of these;
- `whole`: the cosine of the embeddings of the whole answer (its beginning, where it is longer than the model reads) and the
  input, which decides more than any passage where the answer is long: in one of n passages it weighs 1 - 1/n.

**Bare words** (an answer of at most `BARE` to a question: "Canberra", "8", "No.") say too little to be told by any of these.
They are of the kind that is asked for ("8" to how many), which is enough; of another ("In 1913" to who), which changes
nothing; or of neither, as names are, and then their similarity to the question (the last one of the input) decides. Which of
these is shown as `bare` (1, -1, 0).

**The score** is `BEST` times the best sentence's relevance plus the rest times the mean over the sentences, so padding and
digression cost. Two discounts, both in the evidence: an *evasion* ("I don't know", "I cannot help with that") counts by the
share of sentences that evade, unless the sentence sends to a doctor or another who can help; an *echo* counts by the share of
the answer's words that are not the question's (an answer that repeats the question tells nothing). A pleasantry ("That is a good
question.") is relevant to nothing: 0. An empty answer scores 0.

An input longer than `INPUT_TOKENS` tokens, such as a patient's letter, is read in parts of whole sentences; the part that fits
an answer best counts, so nothing is cut off.

Judged well: the sentence that answers among those on the same topic; advice against digression; bare answers in English.
Judged ill: a fluent wrong answer on the right topic (see correctness), answers that need an inference, a short remark on what
was asked about ("Opioids are painkillers"). The figures stand in the card of
`embedded:relevance`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UserError
from harness.records import Case, Embedder, Failure, Judgement, Metric, PairClassifier, fingerprint
from judges.asked import BARE, bare_kind, chosen, content, is_phrase, kind_in, question_of
from judges.grounding import is_evasion
from judges.judging import Scored, judge_each
from judges.sentences import split_sentences

VERSION = 4
RELEVANT = ("relevant", "entailment")
"""What a classifier calls the label that counts; a classifier with one label has no other."""
PASSAGE_WORDS = 40
INPUT_TOKENS = 128
BEST = 0.7
"""Weight of the best sentence against the mean of all."""
ECHO_FLOOR = 0.2
"""An answer with fewer new words than this share is discounted in proportion."""
INTERCEPT = -1.59
WEIGHTS: Mapping[str, float] = {"answers": 0.5, "similarity": 1.17, "words": 2.75, "type": 0.57, "whole": 8.0}
"""Of the logit of `answers` (cut at 4, divided by the number of passages), of the next three, and of `whole` above
`WHOLE_CENTRE` (times 1 - 1/passages)."""
BARE_INTERCEPT = -2.8
BARE_SIMILARITY = 15.0
"""Of a bare answer by its cosine with the question, near what `fit_relevancy` finds: relevance is .5 at .19."""
BARE_KIND = 4.5
"""More for one of the kind that is asked for: enough by itself, since a number is near to no question."""
WHOLE_CENTRE = 0.4
"""The cosine at which a whole answer speaks neither for nor against."""

_EVASION = re.compile(
    r"\b(i (do not|don't|really don't|honestly don't) know\b(?! (you|your|that) )|i (have no|haven't any|don't have any) idea"
    r"|i (cannot|can't|can not|am not able to|am unable to|'m unable to|'m not able to)"
    r" (help|answer|assist|say|comment|provide|discuss|give)"
    r"|(am|i'm) (not able|unable) to (help|answer|assist|say|comment|provide|discuss|give)"
    r"|as an? (ai|artificial|large language model|language model)|no comment|i'd rather not|i would rather not"
    r"|cannot assist|can't assist|(i )?must decline|couldn't say)\b",
    re.IGNORECASE,
)
_REFERRAL = re.compile(
    r"\b(doctor|physician|hospital|emergency|ambulance|specialist|pharmacist|nurse|midwife|dentist|clinic|surgeon|GP|999|911|112)\b"
)
_PLEASANTRY = re.compile(
    r"""\W*(
    (that|this|what)('s|’s|\ is|s)?\ an?\ (very\ |really\ )?(good|great|excellent|interesting|difficult|hard)\ (question|one)
    |(good|great|excellent|interesting)\ question
    |(thank\ you|thanks)(\ very\ much|\ so\ much)?(\ for\ (asking|your\ (question|message|query)|writing(\ in)?))?
    |(i\ )?hope\ (this|that|it)\ (helps|helped|answers\ your\ question)(\ you)?
    |(best\ of\ |good\ )?luck|best\ wishes|take\ care|(kind\ )?regards|have\ a\ (nice|good|great|lovely)\ day
    |(please\ )?(feel\ free|do\ not\ hesitate|don't\ hesitate)\ to\ (ask|contact|reach\ out).*|let\ me\ know\ if\ .*
    |hello|hi|dear\ .{1,20}|welcome(\ to\ .{1,40})?|it\ depends|i\ understand\ your\ concern|you('re|\ are)\ welcome
    )\W*""",
    re.IGNORECASE | re.VERBOSE,
)
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one sentence and one part of the input."""

    answers: float
    similarity: float
    words: float
    type: int
    whole: float
    passages: int
    """Of the whole answer."""
    bare: int | None = None
    """Of an answer that is a few bare words: what `bare_kind` says of them."""

    def features(self) -> dict[str, float]:
        """The five numbers that are weighed."""
        p = min(max(self.answers, 1e-6), 1 - 1e-6)
        logit = min(4.0, max(-4.0, math.log(p / (1 - p))))
        return {
            "answers": logit / self.passages,
            "similarity": self.similarity,
            "words": self.words,
            "type": float(self.type),
            "whole": (1 - 1 / self.passages) * (self.whole - WHOLE_CENTRE),
        }

    def relevance(self) -> float:
        """The logistic combination, in [0, 1]; of bare words that may answer, what they are worth as such if that is more."""
        usual = INTERCEPT + sum(WEIGHTS[name] * value for name, value in self.features().items())
        if self.bare is None or self.bare < 0:
            return _logistic(usual)
        return _logistic(max(usual, BARE_INTERCEPT + BARE_SIMILARITY * self.similarity + BARE_KIND * self.bare))


class RelevancyJudge:
    """How well the answer addresses the input, in [0, 1], higher is better."""

    def __init__(
        self, name: str, embedder: Embedder, classifier: PairClassifier, *, model: str = "the classifier"
    ) -> None:
        """`classifier` reads (input, passage); raises UserError when it has no label for relevant."""
        self.metric = Metric(name=name, direction="higher")
        self._embedder = embedder
        self._classifier = classifier
        found = [index for index, label in enumerate(classifier.labels) if label.lower() in RELEVANT]
        if not found and len(classifier.labels) > 1:
            raise UserError(
                f"model '{model}' must have a label {' or '.join(RELEVANT)}, or one label only"
                f" (got {', '.join(classifier.labels)}). Name another one."
            )
        self._label = found[0] if found else 0

    @property
    def fingerprint(self) -> str:
        return fingerprint(["relevancy", VERSION, self._embedder.key, self._classifier.key])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(
            cases, self.metric.name, needs=("answer", "input"), empty=(0.0, "empty", {}), score=self._score
        )

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        evidence = self.evidence([(case.input or "", case.answer or "") for case in cases])
        return [_judged(case, rows) for case, rows in zip(cases, evidence, strict=True)]

    def evidence(self, pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, Evidence]]]:
        """For each (input, answer), its sentences with their evidence, held against the part of the input that fits best."""
        inputs = {text: self._parts(text, INPUT_TOKENS) for text, _ in pairs}
        passages = {text: self._passages(text) for _, text in pairs}
        asked = [(part, passage) for text, answer in pairs for part in inputs[text] for _, passage in passages[answer]]
        unique = list(dict.fromkeys(asked))
        rows = self._classifier.probabilities(unique)
        answers = {pair: float(row[self._label]) for pair, row in zip(unique, rows, strict=True)}
        bare = {pair: _bare(*pair) for pair in pairs}
        questions = {
            text: f"{(question_of(text) or text).rstrip(' ?')}?" for (text, _), kind in bare.items() if kind is not None
        }
        texts = [*(part for parts in inputs.values() for part in parts), *questions.values(), *passages]
        texts = list(dict.fromkeys([*texts, *(sentence for rows in passages.values() for sentence, _ in rows)]))
        vectors = dict(zip(texts, self._embedder.embed(texts), strict=True))
        found = []
        for text, answer in pairs:
            sentences = []
            kind = bare[text, answer]
            for sentence, passage in passages[answer]:
                held = [
                    Evidence(
                        answers=answers[part, passage],
                        similarity=max(
                            0.0, float(vectors[part if kind is None else questions[text]] @ vectors[sentence])
                        ),
                        words=_taken_up(part, sentence),
                        type=kind_in(part, sentence),
                        whole=max(0.0, float(vectors[part] @ vectors[answer])),
                        passages=len({passage for _, passage in passages[answer]}),
                        bare=kind,
                    )
                    for part in inputs[text]
                ]
                sentences.append((sentence, max(held, key=Evidence.relevance)))
            found.append(sentences)
        return found

    def _passages(self, text: str) -> list[tuple[str, str]]:
        """Each sentence of an answer with the passage that it is read in; no piece is longer than the model reads."""
        sentences = [piece for sentence in split_sentences(text) for piece in self._parts(sentence, INPUT_TOKENS)]
        passages: list[list[str]] = []
        for sentence in sentences:
            if passages and sum(len(s.split()) for s in [*passages[-1], sentence]) <= PASSAGE_WORDS:
                passages[-1].append(sentence)
            else:
                passages.append([sentence])
        return [(sentence, " ".join(passage)) for passage in passages for sentence in passage]

    def _parts(self, text: str, most: int) -> list[str]:
        """The text in parts of whole sentences of at most `most` tokens; a longer sentence is cut by words."""
        if self._classifier.count_tokens([text])[0] <= most:
            return [text]
        parts: list[str] = []
        room = 0
        sentences = split_sentences(text)
        for sentence, size in zip(sentences, self._classifier.count_tokens(sentences), strict=True):
            if parts and size <= room:
                parts[-1] = f"{parts[-1]} {sentence}"
                room -= size
                continue
            words = sentence.split()
            step = len(words) if size <= most else max(1, len(words) * most // (2 * size))
            parts += [" ".join(words[i : i + step]) for i in range(0, len(words), step)]
            room = most - size
        return parts


def _judged(case: Case, rows: Sequence[tuple[str, Evidence]]) -> Scored:
    evasive = [
        bool((_EVASION.search(s) or (evidence.bare is not None and is_evasion(s))) and not _REFERRAL.search(s))
        for s, evidence in rows
    ]
    relevance = [
        0.0 if evades or _PLEASANTRY.fullmatch(sentence) else evidence.relevance()
        for (sentence, evidence), evades in zip(rows, evasive, strict=True)
    ]
    direct = 1.0 - sum(evasive) / len(evasive)
    new = 1.0 if rows[0][1].bare == 1 else _new_words(case.input or "", case.answer or "")
    informative = min(1.0, new / ECHO_FLOOR)
    best, mean = max(relevance), sum(relevance) / len(relevance)
    score = min(1.0, (BEST * best + (1 - BEST) * mean) * direct * informative)
    label = "relevant" if score >= 0.5 else "evasive" if direct < 0.5 else "echo" if informative < 0.5 else "off topic"
    sentences: list[dict[str, Any]] = [
        {
            "sentence": sentence,
            "score": round(value, 6),
            "answers": round(evidence.answers, 6),
            "similarity": round(evidence.similarity, 6),
            "words": round(evidence.words, 6),
            "type": evidence.type,
            "whole": round(evidence.whole, 6),
            "evasive": evades,
            **({} if evidence.bare is None else {"bare": evidence.bare}),
        }
        for (sentence, evidence), value, evades in zip(rows, relevance, evasive, strict=True)
    ]
    return score, label, {"direct": direct, "informative": informative, "sentences": sentences}


def _taken_up(question: str, sentence: str) -> float:
    asked = content(question)
    return len(asked & content(sentence)) / len(asked) if asked else 0.0


def _new_words(question: str, answer: str) -> float:
    asked = {word.lower() for word in _WORD.findall(question)}
    said = [word.lower() for word in _WORD.findall(answer)]
    return sum(word not in asked for word in said) / len(said) if said else 0.0


def _bare(text: str, answer: str) -> int | None:
    """What the answer is worth as bare words, or None where it is a text, nothing is asked, or it is near by its words alone."""
    question = question_of(text)
    if question is None or not 0 < len(answer.split()) <= BARE or len(split_sentences(answer)) > 1:
        return None
    if answer.rstrip().endswith("?") or _WORD.findall(answer.lower()) == _WORD.findall(question.lower()):
        return None
    kind = 1 if chosen(question, answer) else bare_kind(question, answer)
    if kind < 0 and _REFERRAL.search(answer):
        kind = 0  # of no kind that is asked for, but it may be what is best
    return None if kind == 0 and content(question) & content(answer) and not is_phrase(question, answer) else kind


def _logistic(total: float) -> float:
    return 1 / (1 + math.exp(-total))
