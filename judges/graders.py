"""How a model turns a filled form into a grade on a scale: the modes of G-Eval, `exact`, `topk` and `sampled`.

A grade is the mean of a distribution over the scores of the scale. One grader keeps to one mode, so that what it grades can
be compared; a form that this mode cannot grade is a failure, never a score by another mode.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeVar

from harness.errors import EndpointError, ModelError
from harness.records import ChoiceScorer, Failure, Message, ReplyToken, ScoreSampler
from judges.grades import Scale, read_score, read_token, score_offset
from judges.judging import ask_all

Grade = tuple[float, dict[str, Any]]
"""The raw grade on the scale, and its evidence: mode, distribution, valid_mass and what the mode adds."""
T = TypeVar("T")
Turns = tuple[Message, ...]
EndpointMode = Literal["auto", "topk", "sampled"]

MASS_FLOOR = 0.5
"""Least probability on valid scores for the tokens of a reply to count; below it the case is unscored."""
AMBIGUOUS = 0.01
"""Most probability that may lie on "1" where "10" is a score too and nobody knows whether that is one token."""
SAME = 0.05
"""Total variation up to which the distributions asked for at temperature 0 and 1 count as one: servers are not exact."""
REPLY_TOKENS = 16
"""Tokens of a reply: room for a score with a label before it, not for a rationale."""
_DIGITS = re.compile(r"[0-9]{2,}")
_DIGIT_LAST, _DIGIT_FIRST = re.compile(r"[0-9]\Z"), re.compile(r"[0-9]")


class Grader(Protocol):
    """What grades forms, in one mode."""

    @property
    def mode(self) -> str | None:
        """None as long as it is not known: an endpoint's shows with the first form."""
        ...

    @property
    def key(self) -> list[object]:
        """Whatever decides a grade, besides the form."""
        ...

    def grade(self, forms: Sequence[str]) -> list[Grade | Failure]:
        """One grade a form, in order."""
        ...


class ExactGrader:
    """The likelihood of every score string, under teacher forcing."""

    mode = "exact"

    def __init__(self, scorer: ChoiceScorer, scale: Scale) -> None:
        self._scorer = scorer
        self._scores = list(range(scale[0], scale[1] + 1))
        self.key: list[object] = ["exact", scorer.key]

    def grade(self, forms: Sequence[str]) -> list[Grade | Failure]:
        """All forms at once: the model room batches them and computes what they begin with only once."""
        rows = self._scorer.log_likelihoods([_turns(form) for form in forms], [str(score) for score in self._scores])
        return [self._weigh(row) for row in rows]

    def _weigh(self, row: Sequence[float]) -> Grade | Failure:
        top = max(row)
        if top == -math.inf:
            return Failure(kind="prompt_too_long", message="the form does not fit the judge model's context window")
        weights = {score: math.exp(value - top) for score, value in zip(self._scores, row, strict=True)}
        return _graded(self.mode, weights, mass=sum(math.exp(value) for value in row))


@dataclass(slots=True)
class Findings:
    """What was found out about the log-probabilities of an endpoint's model; all judges on it share this. None is unknown."""

    temperature: Literal["before", "after"] | None = None
    """Whether the log-probabilities are those before or after temperature."""
    joins_digits: bool | None = None
    """Whether "10" is one token."""
    is_probed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Endpoint:
    """An endpoint's model, as one judge asks it."""

    def __init__(self, sampler: ScoreSampler, *, workers: int = 8, findings: Findings | None = None) -> None:
        """`workers` requests are sent at once; the sampler may allow fewer. `findings` are those of other judges on it."""
        self.sampler = sampler
        self.workers = workers
        self.findings = findings or Findings()

    def reply(self, turns: Turns) -> list[ReplyToken] | None:
        """A reply's tokens at temperature 1 and top_p 1, where it makes no difference on which side of them a server
        looks. None where the endpoint gives no log-probabilities.
        """
        tokens = self.sampler.reply_tokens(turns, temperature=1.0, max_new_tokens=REPLY_TOKENS)
        if tokens is not None and self.findings.joins_digits is None:
            self.findings.joins_digits = _joins_digits(tokens)
        return tokens

    def probe(self, turns: Turns, tokens: Sequence[ReplyToken], digits: Turns | None) -> None:
        """Once an endpoint: the same prompt at temperature 0, and, where `digits` asks for one, a number of two digits."""
        found = self.findings
        with found.lock:
            if not found.is_probed:
                found.is_probed = True
                found.temperature = self._compare(turns, tokens)
            if digits is not None and found.joins_digits is None:
                with suppress(ModelError):
                    self.reply(digits)

    def _compare(self, turns: Turns, tokens: Sequence[ReplyToken]) -> Literal["before", "after"] | None:
        try:
            cold = self.sampler.reply_tokens(turns, temperature=0.0, max_new_tokens=1)
        except ModelError:
            return None
        if cold is None:
            return None
        at_one, at_zero = (_probabilities(found[0].alternatives) for found in (tokens, cold))
        names = at_one.keys() | at_zero.keys()
        distance = sum(abs(at_one.get(name, 0.0) - at_zero.get(name, 0.0)) for name in names) / 2
        return "before" if distance <= SAME else "after"


class EndpointGrader:
    """The tokens that a reply could have begun with, or draws where the endpoint does not tell them."""

    def __init__(
        self, endpoint: Endpoint, scale: Scale, *, samples: int, mode: EndpointMode = "auto", digits: str = ""
    ) -> None:
        """Asks nothing yet.

        Args:
            endpoint: Where the forms go.
            scale: Lowest and highest score; from 0 up for `topk`.
            samples: Draws in sampled mode.
            mode: `auto` is topk where the endpoint gives log-probabilities that a score can be read from, else sampled.
            digits: A prompt that asks for the highest score as a number, to see whether its digits are one token.
        """
        self.mode: Literal["topk", "sampled"] | None = "sampled" if mode == "sampled" or scale[0] < 0 else None
        self.key: list[object] = [mode, samples, endpoint.sampler.key]
        self._endpoint = endpoint
        self._scale = scale
        self._samples = samples
        self._wanted = mode
        self._digits = _turns(digits) if digits and scale[1] > 9 else None
        scores = [str(score) for score in range(scale[0], scale[1] + 1)]
        self._openings = {int(a) for a in scores if any(b != a and b.startswith(a) for b in scores)}

    def grade(self, forms: Sequence[str]) -> list[Grade | Failure]:
        """The first form alone settles the mode; the others follow, many at once."""
        turns = [_turns(form) for form in forms]
        found: list[Grade | Failure] = []
        while self.mode is None and len(found) < len(turns):
            found.append(self._settle(turns[len(found)]))
        return [*found, *ask_all(self._grade, turns[len(found) :], workers=self._endpoint.workers)]

    def _settle(self, turns: Turns) -> Grade | Failure:
        """Grades a form and finds out by it which mode there is; the mode stays open where the endpoint fails."""
        try:
            tokens = self._endpoint.reply(turns)
            if tokens is not None:
                self._endpoint.probe(turns, tokens, self._digits)
        except ModelError as error:
            return unreachable(error)
        usable = tokens is not None and not (self._scale[1] > 9 and self._endpoint.findings.joins_digits is False)
        self.mode = "topk" if usable or self._wanted == "topk" else "sampled"
        return self._from_tokens(tokens) if self.mode == "topk" else self._grade(turns)

    def _grade(self, turns: Turns) -> Grade | Failure:
        try:
            if self.mode == "topk":
                return self._from_tokens(self._endpoint.reply(turns))
            replies = self._endpoint.sampler.sample(
                turns, n=self._samples, temperature=1.0, max_new_tokens=REPLY_TOKENS
            )
        except ModelError as error:
            return unreachable(error)
        return self._from_draws(replies)

    def _from_tokens(self, tokens: Sequence[ReplyToken] | None) -> Grade | Failure:
        if tokens is None:
            return Failure(kind="no_logprobs", message="the endpoint gave no logprobs; use mode 'sampled'")
        masses = _masses(tokens, self._scale)
        mass = sum(masses.values())
        if mass < MASS_FLOOR:
            return Failure(kind="low_valid_mass", message=f"only {mass:.3f} of the probability is on valid scores")
        if not self._endpoint.findings.joins_digits:
            unsure = sum(masses.get(score, 0.0) for score in self._openings)
            if unsure > AMBIGUOUS:
                message = f"{unsure:.3f} of the probability is on digits that may begin a longer score"
                return Failure(kind="ambiguous_tokens", message=f"{message}; use mode 'sampled' or a scale up to 9")
        value, evidence = _graded("topk", masses, mass=mass)
        side = self._endpoint.findings.temperature
        logprobs = f"{side} temperature" if side else "unknown"
        return value, {**evidence, "logprobs": logprobs}

    def _from_draws(self, replies: Sequence[str]) -> Grade | Failure:
        scores = [score for reply in replies if (score := read_score(reply, self._scale)) is not None]
        if not scores:
            return Failure(kind="unparsable", message=f"none of {len(replies)} replies begins with a score")
        n = len(scores)
        mean = sum(scores) / n
        error = math.sqrt(sum((score - mean) ** 2 for score in scores) / (n - 1) / n) if n > 1 else None
        _, evidence = _graded("sampled", Counter(scores), mass=n / len(replies))
        counts = {"n": n, "unparsable": len(replies) - n, "missing": self._samples - len(replies)}
        return mean, {**evidence, **counts, "standard_error": error}


def _masses(tokens: Sequence[ReplyToken], scale: Scale) -> dict[int, float]:
    """Probability that the reply's score is each score of the scale."""
    return masses_along(tokens, offset=score_offset, read=lambda text: read_token(text, scale))


def masses_along(
    tokens: Sequence[ReplyToken], *, offset: Callable[[str], int | None], read: Callable[[str], T | None]
) -> dict[T, float]:
    """Probability of each value that the reply could have given, along the reply that was drawn.

    Up to the token that holds the value, each place adds what else could have stood there, weighed by the probability of
    having come so far: a label before the value ("Score: 4") is thus gone through, while a rationale, of which
    there are many, leaves little. Without a value in the reply only its first token counts.

    Args:
        tokens: Of the reply, in order.
        offset: Where in a reply its value begins, None where it gives none.
        read: The value that one token spells, or None.
    """
    place = _place(tokens, offset("".join(token.text for token in tokens)))
    masses: dict[T, float] = {}
    reach = 0.0
    for index, token in enumerate(tokens[: place + 1]):
        for text, logprob in token.alternatives:
            value = read(text)
            if value is None or (index < place and text == token.text):
                continue  # the token drawn on the way, such as a list number, counts by what followed it
            masses[value] = masses.get(value, 0.0) + math.exp(reach + logprob)
        reach += token.logprob
    return masses


def _place(tokens: Sequence[ReplyToken], offset: int | None) -> int:
    """Index of the token that holds the text's character `offset`; 0 where there is none."""
    end = 0
    for index, token in enumerate(tokens):
        end += len(token.text)
        if offset is not None and offset < end:
            return index
    return 0


def _joins_digits(tokens: Sequence[ReplyToken]) -> bool | None:
    """Whether a model's tokens hold several digits, as far as this reply and its alternatives show it."""
    texts = [text for token in tokens for text in (token.text, *(name for name, _ in token.alternatives))]
    if any(_DIGITS.search(text) for text in texts):
        return True
    split = any(_DIGIT_LAST.search(one.text) and _DIGIT_FIRST.match(two.text) for one, two in pairwise(tokens))
    return False if split else None


def _probabilities(alternatives: Sequence[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text, logprob in alternatives:
        found[text] = found.get(text, 0.0) + math.exp(logprob)
    return found


def _graded(mode: str, weights: Mapping[Any, float], *, mass: float) -> Grade:
    """The mean of the scores by their weights, and the evidence of it."""
    total = sum(weights.values())
    shares = {score: weight / total for score, weight in sorted(weights.items())}
    mean = sum(float(score) * share for score, share in shares.items())
    distribution = {f"{score:g}": round(share, 6) for score, share in shares.items()}
    return mean, {"mode": mode, "distribution": distribution, "valid_mass": round(min(1.0, mass), 6)}


def unreachable(error: ModelError) -> Failure:
    """Why an endpoint's model could not be asked, by the endpoint's own kind of failure where it names one."""
    kind = error.kind if isinstance(error, EndpointError) else "judge_unreachable"
    return Failure(kind=kind, message=str(error))


def _turns(form: str) -> Turns:
    return (Message(role="user", content=form),)
