"""Pairwise: which of two answers a language model prefers by a criterion, asked in both orders.

The form (`judges/prompts/pairwise.txt`) shows the criterion, the input, reference or context where the criteria say so (or
`shows` does), and two answers called A and B: the candidate's and its opponent's, first one way round, then the other. The
model says A, B or tie:

- *exact* (models that run here): the likelihood of each of the three words, end of turn included; their softmax.
- *topk* (endpoints with logprobs): the alternatives to the token that holds the word; below a valid mass of 0.5 the
  case is unscored.
- *sampled* (endpoints without): one reply at temperature 0, or `samples` replies at temperature 1 and their shares;
  unreadable replies are left out and lower the valid mass.

An answer cannot end its block of the form or begin the other's: what looks like either loses its square brackets.

An order's verdict is its likeliest word. Score: 1 where both orders prefer the candidate, 0 where both prefer the
opponent, else 0.5, so that a judge which follows the position gives ties, not wins (Zheng et al. 2023, section 3.4).
Label: win, loss, tie, or inconsistent (each order prefers another answer). Equal answers are a tie by definition (label
identical), without a call. When an order cannot be judged there is no score. Evidence: both orders' probabilities,
P(candidate preferred) as their mean with ties as half (`probability`), and which place an inconsistent verdict
`follows`, first or second. The share of those among the pairs that were asked about is the position-bias rate.

The mean over samples estimates P(candidate is preferred to its opponent), ties as half: compare it with 0.5, which the
opponent itself scores by definition. `against` names the opponent; left out, the gate's baseline. With `against: all` a
score is the mean over all other candidates. Run and report rank the candidates by Bradley-Terry strength. `muster score
pairwise` takes the opponent's answer from the key `opponent` of a line (a text, or a list of texts).

Judged well: what the criterion names, when the answers differ clearly. Judged ill: close answers (many ties), facts that
the judge model does not know (name the reference in the criteria), answers in the judge model's own style, which it
favours, and answers that praise themselves. A small judge model follows the position more than the content.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from harness.errors import ModelError, UserError
from harness.records import (
    Case,
    ChoiceScorer,
    Failure,
    Judgement,
    Message,
    Metric,
    Models,
    ReplyToken,
    fingerprint,
)
from harness.suite.grammar import AnswersModel, OpenAIModel, PairwiseSpec
from judges.forms import Parts, fill, prompt_text
from judges.graders import MASS_FLOOR, REPLY_TOKENS, Endpoint, Findings, masses_along, unreachable
from judges.judging import Scored, ask_all, judge_each

VERSION = 2
WORDS = ("A", "B", "tie")
_MARKUP = " \t\n\r*_`\"'▁Ġ[](){}<>.:"
_BETTER = r"is\s+(?:(?:the|clearly|slightly|much|overall)\s+){0,2}(?:better|best|winner|stronger|preferable|superior)\b"
_REPLY = re.compile(
    r"[\W_]*(?i:(?:the\s+)?(?:better\s+answer|answer|verdict|winner)(?:\s+is)?\b[\W_]*)?"
    r"(?:(?P<letter>[AB])|(?i:a\s+)?(?P<tie>(?i:tie)))"
    rf"(?=$|\s*\n|[^\w\s]|_|\s+{_BETTER})"
    r"(?!\s*[/,;=–-]\s*(?:and\s+|or\s+)?(?:[AB]\b|tie\b))"  # "A/B" and "A, B" name both
)
_BLOCK = re.compile(r"\[(\s*(?:end\s+of\s+)?answer\s+[ab]\s*)\]", re.IGNORECASE)
"""What an answer's block begins or ends with in the form: in an answer its brackets become round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the judge model said of one order."""

    probabilities: Mapping[str, float]
    """Of `WORDS`; they sum to 1."""
    mode: Literal["exact", "topk", "sampled"]
    valid_mass: float
    """Share of the model's probability (or replies) on the three words."""

    @property
    def verdict(self) -> str:
        """The likeliest word; a tie where no word is likelier than every other."""
        top = max(self.probabilities.values())
        best = [word for word in WORDS if self.probabilities[word] >= top - 1e-12]
        return best[0] if len(best) == 1 else "tie"


class Chooser(Protocol):
    """How one kind of model chooses between A, B and tie."""

    @property
    def key(self) -> str: ...

    def choose(self, forms: Sequence[str]) -> list[Choice | Failure]: ...


class ExactChoices:
    """Teacher-forced likelihoods of the three words."""

    def __init__(self, scorer: ChoiceScorer) -> None:
        self._scorer = scorer
        self.key = scorer.key

    def choose(self, forms: Sequence[str]) -> list[Choice | Failure]:
        """All forms in one call."""
        prompts = [(Message(role="user", content=form),) for form in forms]
        return [self._weigh(row) for row in self._scorer.log_likelihoods(prompts, WORDS)]

    def _weigh(self, row: Sequence[float]) -> Choice | Failure:
        top = max(row)
        if top == -math.inf:
            return Failure(kind="prompt_too_long", message="the form does not fit the judge model's context window")
        weights = [math.exp(value - top) for value in row]
        shares = {word: weight / sum(weights) for word, weight in zip(WORDS, weights, strict=True)}
        return Choice(probabilities=shares, mode="exact", valid_mass=min(1.0, sum(map(math.exp, row))))


class EndpointChoices:
    """What a reply could have said at an endpoint, or what replies say where it gives no logprobs.

    The first form that is answered settles the mode; a later one that this mode cannot read is a failure.
    """

    def __init__(self, endpoint: Endpoint, *, samples: int) -> None:
        self._endpoint = endpoint
        self._samples = samples
        self.mode: Literal["topk", "sampled"] | None = None
        self.key = fingerprint([endpoint.sampler.key, samples])

    def choose(self, forms: Sequence[str]) -> list[Choice | Failure]:
        """Asks for one form at a time until one is answered, then for the others at once."""
        turns = [(Message(role="user", content=form),) for form in forms]
        found: list[Choice | Failure] = []
        while self.mode is None and len(found) < len(turns):
            found.append(self._one(turns[len(found)]))
        return [*found, *ask_all(self._one, turns[len(found) :], workers=self._endpoint.workers)]

    def _one(self, turns: tuple[Message, ...]) -> Choice | Failure:
        try:
            if self.mode != "sampled":
                tokens = self._endpoint.reply(turns)
                if tokens is None and self.mode == "topk":
                    return Failure(kind="no_logprobs", message="the endpoint gave no logprobs, as it did before")
                self.mode = "sampled" if tokens is None else "topk"
                if tokens is not None:
                    return self._from_tokens(tokens)
            temperature = 0.0 if self._samples == 1 else 1.0
            replies = self._endpoint.sampler.sample(
                turns, n=self._samples, temperature=temperature, max_new_tokens=REPLY_TOKENS
            )
        except ModelError as error:
            return unreachable(error)
        return self._from_replies(replies)

    def _from_tokens(self, tokens: Sequence[ReplyToken]) -> Choice | Failure:
        masses = masses_along(tokens, offset=_word_offset, read=read_token)
        mass = sum(masses.values())
        if mass < MASS_FLOOR:
            return Failure(kind="low_valid_mass", message=f"only {mass:.3f} of the probability is on A, B and tie")
        return _shares(masses, "topk", mass)

    def _from_replies(self, replies: Sequence[str]) -> Choice | Failure:
        counts = Counter(word for word in map(read_reply, replies) if word is not None)
        if not counts:
            return Failure(kind="unparsable", message=f"none of {len(replies)} replies is A, B or tie")
        return _shares(counts, "sampled", counts.total() / len(replies))


def _shares(masses: Mapping[str, float], mode: Literal["topk", "sampled"], valid_mass: float) -> Choice:
    total = sum(masses.values())
    shares = {word: masses.get(word, 0.0) / total for word in WORDS}
    return Choice(probabilities=shares, mode=mode, valid_mass=min(1.0, valid_mass))


def read_token(token: str) -> str | None:
    """The word that a reply's first token begins: A or B themselves, or the beginning of tie; else None."""
    bare = token.strip(_MARKUP)
    if bare in ("A", "B"):
        return bare
    return "tie" if bare and "tie".startswith(bare.lower()) else None


def read_reply(text: str) -> str | None:
    """The word that a reply gives, with or without Markdown, brackets or `Answer:`; None for prose such as `A good …`."""
    match = _REPLY.match(text)
    return None if match is None else match["letter"] or "tie"


def _word_offset(text: str) -> int | None:
    match = _REPLY.match(text)
    return None if match is None else match.start("letter" if match["letter"] else "tie")


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """One pair of answers, judged in both orders."""

    verdict: Literal["win", "loss", "tie", "inconsistent", "identical"]
    probability: float
    """That the candidate is preferred, ties as half: the mean of both orders."""
    follows: Literal["first", "second"] | None = None
    """Which place both orders preferred, whoever stood there; None where the verdict did not follow the position."""
    orders: tuple[Choice, ...] = ()
    """With the candidate as A, and as B; empty for identical answers."""

    @property
    def score(self) -> float:
        """1 for a win, 0 for a loss, else 0.5."""
        return {"win": 1.0, "loss": 0.0}.get(self.verdict, 0.5)

    @property
    def evidence(self) -> dict[str, Any]:
        """The game as JSON values."""
        names = ("candidate_first", "candidate_second")
        return {
            "verdict": self.verdict, "score": self.score, "probability": round(self.probability, 6),
            "follows": self.follows, **{name: _told(order) for name, order in zip(names, self.orders, strict=False)},
        }  # fmt: skip


def _told(choice: Choice) -> dict[str, float]:
    return {
        **{word: round(p, 6) for word, p in choice.probabilities.items()},
        "valid_mass": round(choice.valid_mass, 6),
    }


def play(as_first: Choice, as_second: Choice) -> Game:
    """The game of two orders: the candidate as A, then as B."""
    one, two = as_first.verdict, as_second.verdict
    won = [one == "A", two == "B"]
    lost = [one == "B", two == "A"]
    verdict: Literal["win", "loss", "tie", "inconsistent"] = "tie"
    if all(won) or all(lost):
        verdict = "win" if all(won) else "loss"
    elif any(won) and any(lost):
        verdict = "inconsistent"
    p, q = as_first.probabilities, as_second.probabilities
    return Game(
        verdict=verdict,
        probability=(p["A"] + q["B"] + (p["tie"] + q["tie"]) / 2) / 2,
        follows=None if verdict != "inconsistent" else "first" if one == "A" else "second",
        orders=(as_first, as_second),
    )


class PairwiseJudge:
    """P(candidate preferred to its opponents) in [0, 1], higher is better; 0.5 is the opponent's own."""

    def __init__(self, name: str, chooser: Chooser, *, criteria: str, shows: Sequence[str] | None = None) -> None:
        """Asks nothing yet. `shows`: of input, reference and context what every case must have and the form shows."""
        self.metric = Metric(name=name, direction="higher")
        self._chooser = chooser
        self._criteria = criteria
        self._parts = Parts([criteria], shows)
        self._form = prompt_text("pairwise.txt")
        self._turned: dict[tuple[int, str], Choice] = {}
        """What was said of a form, kept for the game from the opponent's side: by its place there, and the form's hash."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(["pairwise", VERSION, self._chooser.key, self._form, self._criteria, self._parts.shows])

    @property
    def description(self) -> dict[str, Any]:
        """For a run's record: all that the scores rest on."""
        return {"kind": "pairwise", "version": VERSION, "criteria": self._criteria, "shows": list(self._parts.shows)}

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        needs = ("answer", "opponents", *self._parts.needs)
        return judge_each(cases, self.metric.name, needs=needs, empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        """Every form once, whichever cases it serves: the game of B against A has the forms of A against B."""
        pairs = [[self._forms(case, opponent) for opponent in case.opponents] for case in cases]
        choices = self._choices([row for games in pairs for forms in games for row in enumerate(forms)])
        return [self._whole([_game([choices[form] for form in forms]) for forms in games]) for games in pairs]

    def _forms(self, case: Case, opponent: str) -> tuple[str, ...]:
        """The form with the candidate's answer as A and the one with it as B; none where both answers are equal."""
        ours, theirs = (case.answer or "").strip(), opponent.strip()
        return () if ours == theirs else (self._fill(case, ours, theirs), self._fill(case, theirs, ours))

    def _choices(self, asked: Iterable[tuple[int, str]]) -> dict[str, Choice | Failure]:
        """A choice a form, from places (0: the candidate is A, 1: it is B) and forms.

        What was said for a game serves the same game from the other side, once; the same game again is asked anew, so that
        repeats show the judge's noise.
        """
        places: dict[str, set[int]] = {}
        for place, form in asked:
            places.setdefault(form, set()).add(place)
        found: dict[str, Choice | Failure] = {}
        for form, here in places.items():
            for place in here:
                choice = self._turned.pop((place, fingerprint(form)), None)
                if choice is not None:
                    found[form] = choice
        new = [form for form in places if form not in found]
        for form, said in zip(new, self._chooser.choose(new) if new else (), strict=True):
            found[form] = said
            if isinstance(said, Choice) and len(places[form]) == 1:
                self._turned[1 - places[form].pop(), fingerprint(form)] = said
        return found

    def _whole(self, games: Sequence[Game | Failure]) -> Scored | Failure:
        for game in games:
            if isinstance(game, Failure):
                return game
        judged = [game for game in games if isinstance(game, Game)]
        score = sum(game.score for game in judged) / len(judged)
        modes = dict.fromkeys(order.mode for game in judged for order in game.orders)
        label = judged[0].verdict if len(judged) == 1 else None
        return score, label, {"mode": "/".join(modes) or None, "games": [game.evidence for game in judged]}

    def _fill(self, case: Case, first: str, second: str) -> str:
        answers = {"first": first or "(empty)", "second": second or "(empty)"}
        shown = {name: _BLOCK.sub(r"(\1)", text) for name, text in {**answers, **self._parts.of(case)}.items()}
        return fill(self._form, {"criteria": self._criteria, **shown})


def _game(choices: Sequence[Choice | Failure]) -> Game | Failure:
    """The game of both orders' choices (none where the answers were equal); the failure where an order has one."""
    orders = [choice for choice in choices if isinstance(choice, Choice)]
    if len(orders) < len(choices):
        return next(choice for choice in choices if isinstance(choice, Failure))
    return play(*orders) if orders else Game(verdict="identical", probability=0.5)


def build_pairwise(
    name: str, spec: PairwiseSpec, models: Models, *, endpoints: dict[str, Findings] | None = None
) -> PairwiseJudge:
    """The judge of a suite's `kind: pairwise`. `endpoints` is the memory of endpoints that judges share, by key.

    Raises ModelError when its model cannot be had, UserError for recorded answers.
    """
    if isinstance(spec.model, AnswersModel):
        raise UserError(
            f"judge '{name}': a pairwise model must generate (got kind 'answers'). Use transformers or openai."
        )
    chooser: Chooser
    if isinstance(spec.model, OpenAIModel):
        sampler = models.score_sampler(spec.model)
        known = {} if endpoints is None else endpoints
        findings = known.setdefault(sampler.key, Findings())
        endpoint = Endpoint(sampler, workers=spec.model.concurrency, findings=findings)
        chooser = EndpointChoices(endpoint, samples=spec.samples)
    else:
        chooser = ExactChoices(models.choice_scorer(spec.model))
    return PairwiseJudge(name, chooser, criteria=spec.criteria, shows=spec.shows)
