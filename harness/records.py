"""The words of the house as frozen records, and the roles that models and judges play.

Nothing here reads a file, loads a model or knows SQL. A missing score is `None`, never NaN or 0, and then `error` says why;
the constructors hold both rules, so no later stage has to check them again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Direction = Literal["higher", "lower"]
Aggregate = Literal["mean", "perplexity", "macro_f1"]
Role = Literal["system", "user", "assistant"]
Progress = Callable[[int], None]
"""Called with the number of items finished since the last call."""


def fingerprint(value: object) -> str:
    """The SHA-256 of a value's canonical JSON, as 64 hex digits. Mappings are sorted, NaN is refused with ValueError."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no answer or no score: `kind` for machines (snake_case), `message` for people (one line)."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a split: what is asked, what a good answer holds, and which groups it belongs to."""

    id: str
    split: str
    input: str
    references: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    cluster: str | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    row: int = 0
    """1-based row number in the data file."""
    messages: tuple[Message, ...] = ()
    """The turns before the answer, for data in chat format; empty otherwise."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """The whole row, for prompt templates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Two answers to one sample, of which somebody preferred one."""

    sample: Sample
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a candidate is given for one sample, before any chat template."""

    sample_id: str
    messages: tuple[Message, ...]
    contexts: tuple[str, ...] = ()
    """Passages put into the prompt by retrieval."""

    @property
    def sha(self) -> str:
        return fingerprint([[m.role, m.content] for m in self.messages])


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How an answer is decoded. `temperature` 0 is greedy."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a generator made of one prompt. Exactly one of `text` and `error` is None."""

    text: str | None
    finish_reason: str | None = None
    """`stop` (the model ended), `length` (max_new_tokens reached), `recorded`, or the endpoint's own word."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    """Wall seconds; in a batch, the batch's seconds divided by its rows; at an endpoint, of the request that was answered."""
    error: Failure | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.error is None):
            raise ValueError("a completion holds either a text or an error, and not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A candidate's completion for one sample, keyed by all that decided it (`key`)."""

    key: str
    candidate: str
    sample_id: str
    prompt_sha: str
    completion: Completion
    contexts: tuple[str, ...] = ()
    prompt: tuple[Message, ...] = ()
    """What the candidate was given, before any chat template; empty where it was not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How likely a candidate finds a text as its answer to a sample's prompt."""

    text: str
    log_likelihood: float
    """Natural log of P(text | prompt), summed over the text's tokens; what ends the turn is not part of it."""
    tokens: int
    """Tokens of the text, at least 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a judge sees of one answer; also one input line of `muster score`."""

    id: str
    answer: str | None
    input: str | None = None
    references: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    """Further sampled answers to the same input, for self-consistency."""
    retrieved: tuple[str, ...] = ()
    """Passages that the candidate retrieved and answered from; `contexts` are the data's own."""
    likelihoods: tuple[Likelihood, ...] = ()
    """What a judge asked for in `Needs.likelihoods`, in that order."""
    opponents: tuple[str, ...] = ()
    """Other candidates' answers to the same input, for a judge that compares answers in pairs."""
    messages: tuple[Message, ...] = ()
    """The conversation that `input` is the last turn of; empty where the input is all there was."""

    @property
    def sha(self) -> str:
        """The content a judge may look at, hashed: the id is left out, so equal content is judged once.

        Of likelihoods the texts count, not the values, whose last digits depend on the machine: who found them likely is
        in the key that the runner makes.
        """
        likely = [likelihood.text for likelihood in self.likelihoods]
        turns = [[[turn.role, turn.content] for turn in self.messages]] if self.messages else []
        return fingerprint(
            [
                self.answer, self.input, self.references, self.contexts, self.samples, self.retrieved, likely,
                self.opponents, *turns,
            ]
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a judge wants to know of the candidate beyond its answer to one sample; the runner fills it into `Case`."""

    samples: int = 0
    """Further answers, drawn at temperature 1, each with a seed of its own: `Case.samples`."""
    likelihoods: tuple[str, ...] = ()
    """Texts whose likelihood as the answer is wanted: `Case.likelihoods`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a judge had asked of a candidate beyond its answer to a sample, kept so that it is asked once.

    Of kind `sample`, a further answer: `text`. Of kind `likelihood`, how likely the candidate finds `text`:
    `log_likelihood` and `tokens`, as in `Likelihood`.
    """

    key: str
    """Hash of all that decided it: weights, template, prompt, and the draw's seed or the text."""
    candidate: str
    sample_id: str
    kind: Literal["sample", "likelihood"]
    number: int
    """Which of the further answers, from 1; 0 for a likelihood."""
    text: str
    log_likelihood: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if (self.kind == "likelihood") != (self.log_likelihood is not None and self.tokens is not None):
            raise ValueError("a likelihood holds log_likelihood and tokens, a sample neither")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One further judgement of a case that was judged already, to see how far a judge agrees with itself."""

    key: str
    """Hash of judge, case and `number`: never that of the judgement itself."""
    candidate: str
    sample_id: str
    metric: str
    number: int
    """Which of the repeated calls, from 1."""
    score: float | None
    error: Failure | None = None

    def __post_init__(self) -> None:
        if (self.score is None) == (self.error is None):
            raise ValueError("a repeat holds either a score or an error, and not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A named scale. `direction` says which end is good; scores lie within [low, high]."""

    name: str
    direction: Direction = "higher"
    low: float = 0.0
    high: float = 1.0
    """`math.inf` where the scale has no upper end."""
    aggregate: Aggregate = "mean"
    """How the scores of many samples become one figure. `mean`: their mean. `perplexity`: exp(-sum of `log_likelihood` / sum of
    `tokens`), both in each judgement's evidence. `macro_f1`: the mean over labels of F1, from `target` and `predicted` (null
    where no label was named) in the evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A judge's score of one case. `score` is None exactly where `error` is not."""

    id: str
    metric: str
    score: float | None
    label: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    error: Failure | None = None
    candidate: str = ""
    """Filled in by the runner, like `key`; then `id` is the sample's."""
    key: str = ""
    """Hash of the judge's fingerprint and the case's content."""

    def __post_init__(self) -> None:
        if (self.score is None) == (self.error is None):
            raise ValueError("a judgement holds either a score or an error, and not both")
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"score must be finite (got {self.score!r})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A finished training: a folder with an adapter (LoRA) or a whole model, whose `manifest.json` holds each file's hash."""

    key: str
    """Hash of recipe, base weights, training rows and library versions: also the folder's name."""
    candidate: str
    base: str
    """Name of the base candidate."""
    base_fingerprint: str
    path: str
    rows: int
    steps: int
    tokens: int
    seconds: float
    trainable_parameters: int
    total_parameters: int
    log: tuple[Mapping[str, float], ...] = ()
    """One entry a logged step, steps rising: step, epoch, loss, learning_rate, grad_norm, tokens; where it was evaluated
    `validation_loss`, by judge `validation_NAME`, and `unscored_NAME` where answers have no score."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What really ran: recipe, dtypes, versions, audit counts; what evaluated the checkpoints (`validation`) and which of them
    was kept, by what (`selection`); in a run, the training rows nearest to the candidate's worst samples (`nearest`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How far an exported model says what its candidate says: greedy answers to the same prompts on one machine."""

    prompts: int
    same_answers: int
    """Answers that are equal, character by character."""
    tokens: int
    """Places along the candidate's answers at which the next token was predicted by both."""
    same_tokens: int
    """Of these, where both find the same token likeliest."""
    max_logit: float
    """Largest absolute difference of two logits at any of these places."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Mean change of each judge's scores, exported model minus candidate; None where an answer could not be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One suite, evaluated: which candidates and judges, by content, and how far it came."""

    id: str
    key: str
    """Hash of suite, data, candidate keys and judge fingerprints: an unchanged plan is the same run."""
    suite: str
    suite_version: int
    suite_sha: str
    data_sha: str
    status: Literal["running", "complete", "incomplete"]
    """`incomplete`: finished, but some answers or scores are missing for a reason that another try could mend."""
    started: str
    """ISO 8601, UTC."""
    finished: str | None
    seconds: float
    candidates: Mapping[str, str]
    """Name to content key, in the order of the suite."""
    metrics: tuple[Metric, ...]
    judges: Mapping[str, str]
    """Metric name to judge fingerprint."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The resolved suite (`suite`), the environment (`environment`: packages, device, platform), the command line (`command`),
    split sizes (`splits`), contamination counts (`contamination`), each judge's own description (`judges`), and what was used of
    endpoints (`endpoints`: requests, tokens, cost and latency of each candidate and judge in each try of the run)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its interval. `low` and `high` are None where the sample is too small for one."""

    n: int
    unscored: int
    mean: float | None
    low: float | None
    high: float | None
    confidence: float
    method: str
    lowest: float | None = None
    """The mean, had every unscored sample the lowest score of the scale; `highest` likewise. None where all are scored, where
    the figure is no mean or the scale has no end, and for ratings by people, who are asked about some samples only."""
    highest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate minus baseline on one metric of one split, paired by sample. The sign is the metric's own, not oriented."""

    metric: str
    split: str
    candidate: str
    baseline: str
    n: int
    unscored: int
    candidate_mean: float | None
    baseline_mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    method: str
    wins: int
    ties: int
    losses: int
    """Samples on which the candidate is better, equal, worse, oriented by the metric's direction."""


HUMAN = "human:"
"""What the name of a metric begins with that a person rated."""
Outcome = Literal["pass", "fail", "inconclusive", "incomplete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one rule: one testcase in JUnit, one line in the terminal, one sentence for people."""

    rule: str
    """The rule as written, such as `correctness better_by 0.05`."""
    metric: str | None
    split: str
    outcome: Outcome
    estimate: float | None
    """The mean, the difference from the baseline (in the metric's own sign), or the share of scored answers."""
    low: float | None
    """One-sided lower bound at the gate's confidence; `high` likewise. None where the sample carries no interval."""
    high: float | None
    threshold: float
    """The limit on the axis of `estimate`: where a difference may fall to -0.02, this is -0.02."""
    n: int
    n_unscored: int
    n_needed: int | None
    message: str
    slice: str | None = None
    """Which samples of the split, such as `specialty=cardio`; None for all of them."""
    unit: str | None = None
    """Of `estimate`, bounds and threshold: `s` for seconds; None where they are scores, shares or money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a candidate may be deployed: the one record behind exit status, JSON, JUnit, Markdown, terminal and HTML."""

    outcome: Outcome
    exit_status: int
    """0 beside an inconclusive outcome where that was asked to be a warning (`--inconclusive warn`)."""
    suite: str
    suite_sha: str
    run: str
    candidate: str
    baseline: str | None
    confidence: float
    """One-sided, of each bound."""
    findings: tuple[Finding, ...]
    rules_sha: str = ""
    """Hash of the rules it was decided by, baseline and confidence included."""
    changed: tuple[str, ...] = ()
    """A sentence for each rule that is not as it was locked, or as it was when the run was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How often a gate's own rules fail a model exactly as good as the baseline, by simulation on a run's scores."""

    run: str
    baseline: str
    rules_sha: str
    repeats: int
    fails: int
    passes: int
    low: float
    """Wilson's interval for the rate of failures, two-sided at 0.95; `high` likewise."""
    high: float
    allowed: float
    """The rate that the gate's confidence states."""
    made_of: str
    """What the equally good pairs were made of, in a sentence."""
    made: str
    """ISO 8601, UTC."""
    left_out: tuple[str, ...] = ()
    """Rules that the baseline itself does not meet, or that have no chance in them."""

    @property
    def rate(self) -> float:
        return self.fails / self.repeats

    @property
    def holds(self) -> bool:
        """Whether the rate is not shown to be above what is allowed."""
        return self.low <= self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of agreement. `value` is None where the labels do not define it, `low` and `high` where it has no interval."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    """Why something is missing, or how often a resample did not define the figure; empty where all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far a judge agrees with one set of human labels: the calibration card, keyed by `fingerprint` and `labels_sha`."""

    judge: str
    """Its kind, or its name in a suite."""
    fingerprint: str
    """Of the judge: a card counts for no other version of it."""
    labels: str
    """Name of the set."""
    labels_sha: str
    """Hash of the judged content, the labels and the clusters."""
    task: Literal["binary", "grades", "classes"]
    n: int
    """Labelled cases with a score: the figures are theirs."""
    unscored: int
    """Labelled cases that the judge could not judge."""
    clusters: int | None
    figures: tuple[Figure, ...]
    """The first one is the headline."""
    made: str
    """ISO 8601, UTC."""
    seen: Literal["", "unseen", "held out", "fitted", "partly seen", "seen"] = ""
    """Whether the judge was trained on the set. `held out`: on other rows of its source; `fitted`: only its few weights were."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """How it was computed: `positive`, `cut`, `ties`, `interval`, `baselines`, where they apply; `reliability`: the bins of
    its diagram (`harness.stats.ReliabilityBin`). For corrections of the judge's means, `confusion` at the cut (hits,
    positives, rejections, negatives; clustered cases count for fewer) and `labelled`: the key of each judgement, and its
    label on the metric's scale."""

    @property
    def headline(self) -> Figure:
        return self.figures[0]


@runtime_checkable
class Generator(Protocol):
    """Answers prompts. `key` identifies weights, adapter, chat template and device-independent settings by content."""

    @property
    def key(self) -> str: ...

    def generate(
        self, prompts: Sequence[Prompt], settings: GenerationSettings
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yields batches of (index into prompts, completion), each index once, in any order."""
        ...


@runtime_checkable
class LikelihoodScorer(Protocol):
    """A generator that can also say how likely it finds given answers: one that runs here, not behind an endpoint."""

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> Iterator[list[tuple[int, Likelihood | Failure]]]:
        """Yields batches of (index into pairs, likelihood of the text as the answer to the prompt), each index once."""
        ...


@runtime_checkable
class ChoiceScorer(Protocol):
    """Says how likely a model finds each of a few continuations."""

    @property
    def key(self) -> str: ...

    def log_likelihoods(self, prompts: Sequence[tuple[Message, ...]], choices: Sequence[str]) -> list[list[float]]:
        """Shape [prompts][choices]: natural log of P(the answer is exactly the choice | prompt).

        Summed over the choice's tokens and the end-of-turn token, so that "1" and "10" are comparable however they are
        split. A row is all -inf where the prompt does not fit the model's context window.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyToken:
    """One token of a drawn reply, and what could have stood in its place."""

    text: str
    logprob: float
    """Natural log of its probability, given the tokens before it."""
    alternatives: tuple[tuple[str, float], ...]
    """The likeliest texts for this place, itself among them as a rule, with their natural-log probabilities; at most 20."""


@runtime_checkable
class ScoreSampler(Protocol):
    """A model behind an endpoint, asked for one short reply such as a score. Both methods raise ModelError when it fails."""

    @property
    def key(self) -> str: ...

    def reply_tokens(
        self, messages: Sequence[Message], *, temperature: float, max_new_tokens: int
    ) -> list[ReplyToken] | None:
        """The tokens of one reply drawn at this temperature and top_p 1, in order; at least one.

        None where the endpoint gives no logprobs (asked once, remembered).
        """
        ...

    def sample(self, messages: Sequence[Message], *, n: int, temperature: float, max_new_tokens: int) -> list[str]:
        """`n` independent replies at top_p 1; fewer where the endpoint returned fewer."""
        ...


@runtime_checkable
class PairClassifier(Protocol):
    """A classifier of two texts, above all an NLI model: P(label | premise, hypothesis), labels read from the checkpoint."""

    @property
    def key(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The order of `probabilities`; of an NLI model among entailment, neutral, contradiction, not_entailment."""
        ...

    @property
    def max_tokens(self) -> int: ...

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Shape [pairs][labels], rows summing to 1. A pair longer than `max_tokens` raises ValueError: callers window."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out."""
        ...


@runtime_checkable
class TextClassifier(Protocol):
    """A text classifier: P(label | text) for each of `labels`."""

    @property
    def key(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def independent(self) -> bool:
        """Whether each label has a probability of its own, so that a row need not sum to 1."""
        ...

    @property
    def max_tokens(self) -> int: ...

    def probabilities(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Shape [texts][labels]."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...


@runtime_checkable
class RewardModel(Protocol):
    """A model with one number for an answer to an input: the higher, the better, and 0 for an average answer."""

    @property
    def key(self) -> str: ...

    def rewards(self, answered: Sequence[tuple[str, str]]) -> list[float | Failure]:
        """One number, without bounds, for each pair of input and answer, or why there is none."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def key(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> Any:
        """A float32 array of shape [texts, dimensions], rows of length 1."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Scores answers. `fingerprint` changes whenever a score could: model, prompt files, version, settings."""

    @property
    def metric(self) -> Metric: ...

    @property
    def fingerprint(self) -> str: ...

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """One judgement a case, in order. A case it cannot judge gets score None and an error; it raises for none."""
        ...


@runtime_checkable
class Inquirer(Protocol):
    """A judge that wants more of the candidate than its answer."""

    def needs(self, sample: Sample) -> Needs | Failure:
        """What the runner gathers for the sample before it calls `judge`.

        A Failure where the sample lacks what the judge cannot do without: then its cases are unscored with it.
        """
        ...


class Models(Protocol):
    """Where judges get their models: each set of weights is loaded once and shared. `spec` is a name or a model mapping.

    Every method raises `errors.ModelError` (cannot be loaded or reached) or `errors.UserError` (not such a model).
    """

    def pair_classifier(self, name: str, *, nli: bool = True) -> PairClassifier:
        """An NLI model; with `nli` False any classifier of two texts, such as a reranker, with its own labels."""
        ...

    def text_classifier(self, name: str) -> TextClassifier: ...

    def embedder(self, name: str) -> Embedder: ...

    def reward_model(self, spec: Any, *, adapter: Path | None = None) -> RewardModel:
        """Of one of the model specs of `harness.suite`, with `adapter` instead of the spec's own."""
        ...

    def generator(self, spec: Any) -> Generator:
        """`spec` is one of the model specs of `harness.suite`."""
        ...

    def choice_scorer(self, spec: Any) -> ChoiceScorer:
        """For models that run here; endpoints cannot score given continuations and raise UserError."""
        ...

    def score_sampler(self, spec: Any) -> ScoreSampler:
        """For models behind an endpoint."""
        ...
