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

**The score** is `BEST` times the best sentence's relevance plus the rest times the mean over the sentences, so padding and
digression cost. Two discounts, both in the evidence: an *evasion* ("I don't know", "I cannot help with that") counts by the
share of sentences that evade, unless the sentence sends to a doctor or another who can help; an *echo* counts by the share of
the answer's words that are not the question's (an answer that repeats the question tells nothing). A pleasantry ("That is a good
question.") is relevant to nothing: 0. An empty answer scores 0.

An input longer than `INPUT_TOKENS` tokens, such as a patient's letter, is read in parts of whole sentences; the part that fits
an answer best counts, so nothing is cut off.

Judged well: the sentence that answers among those on the same topic; advice against digression. Judged ill: a fluent wrong
answer on the right topic (see correctness), answers that need an inference. The figures stand in the card of
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
from judges.judging import Scored, judge_each
from judges.sentences import split_sentences

VERSION = 3
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
_STOP_WORDS = """
    a about after all also am an and any are as at be because been before being but by can could did do does doing for from
    get had has have having he her hers him his how i if in into is it its just me more most my no not of on or other our out
    over she should so some such than that the their them then there these they this those to too up us very was we were what
    when where which while who whom whose why will with would you your yours doctor please dr patient
"""
_STOP = frozenset(_STOP_WORDS.split())
_NUMBER = re.compile(
    r"\b(\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundreds?|thousands?"
    r"|millions?|billions?|once|twice|half|dozen|percent)\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b(1\d\d\d|20\d\d|\d+|january|february|march|april|may|june|july|august|september|october|november|december|(mon|tues|wednes"
    r"|thurs|fri|satur|sun)day|today|tomorrow|yesterday|century|ago|hours?|days?|weeks?|months?|years?|minutes?|morning|evening|night"
    r"|spring|summer|autumn|winter)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<![.!?:\"'`] )(?<!^)\b[A-ZÀ-Þ][\w'’-]+")
_ASKS = (
    (re.compile(r"\bhow (many|much|old|tall|long|far|fast|high|large|big|often|deep|wide|heavy)\b", re.I), _NUMBER),
    (re.compile(r"\b(when|(what|which|in what|in which) (year|month|day|date|time|century|decade))\b", re.I), _TIME),
    (re.compile(r"\b(who|whom|whose|where|(what|which) (\w+ )?(city|country|state|person|company|team|name))\b", re.I), _NAME),
)  # fmt: skip


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
        """The logistic combination, in [0, 1]."""
        return 1 / (1 + math.exp(-INTERCEPT - sum(WEIGHTS[name] * value for name, value in self.features().items())))


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
        texts = [part for parts in inputs.values() for part in parts]
        texts = list(
            dict.fromkeys([*texts, *passages, *(sentence for rows in passages.values() for sentence, _ in rows)])
        )
        vectors = dict(zip(texts, self._embedder.embed(texts), strict=True))
        found = []
        for text, answer in pairs:
            sentences = []
            for sentence, passage in passages[answer]:
                held = [
                    Evidence(
                        answers=answers[part, passage],
                        similarity=max(0.0, float(vectors[part] @ vectors[sentence])),
                        words=_taken_up(part, sentence),
                        type=_type(part, sentence),
                        whole=max(0.0, float(vectors[part] @ vectors[answer])),
                        passages=len({passage for _, passage in passages[answer]}),
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
    evasive = [bool(_EVASION.search(s) and not _REFERRAL.search(s)) for s, _ in rows]
    relevance = [
        0.0 if evades or _PLEASANTRY.fullmatch(sentence) else evidence.relevance()
        for (sentence, evidence), evades in zip(rows, evasive, strict=True)
    ]
    direct = 1.0 - sum(evasive) / len(evasive)
    informative = min(1.0, _new_words(case.input or "", case.answer or "") / ECHO_FLOOR)
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
        }
        for (sentence, evidence), value, evades in zip(rows, relevance, evasive, strict=True)
    ]
    return score, label, {"direct": direct, "informative": informative, "sentences": sentences}


def _content(text: str) -> set[str]:
    """Content words, cut to six letters so that treat, treats and treatment meet."""
    return {word[:6].rstrip("s") for word in map(str.lower, _WORD.findall(text)) if word not in _STOP}


def _taken_up(question: str, sentence: str) -> float:
    asked = _content(question)
    return len(asked & _content(sentence)) / len(asked) if asked else 0.0


def _type(question: str, sentence: str) -> int:
    """Whether the sentence has something new of the kind that is asked for: 1, -1, or 0 where no kind is asked for."""
    old = set(map(str.lower, _WORD.findall(question)))
    for asks, kind in _ASKS:
        if asks.search(question):
            return 1 if any(found[0].lower() not in old for found in kind.finditer(sentence)) else -1
    return 0


def _new_words(question: str, answer: str) -> float:
    asked = {word.lower() for word in _WORD.findall(question)}
    said = [word.lower() for word in _WORD.findall(answer)]
    return sum(word not in asked for word in said) / len(said) if said else 0.0
