"""The grammar of a suite file: what a person may write, key by key.

Frozen pydantic models that refuse unknown keys; the string under each field is its documentation and goes into the JSON
Schema. Nothing here opens a file: `harness.suite.loading` reads YAML, finds lines and columns, and applies `extends`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from harness.suite.lists import allow_lists, listed, single_valued, validate_each

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}\Z")
FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z")
ENDPOINT = re.compile(r"(https?://|\$\{[A-Za-z_][A-Za-z0-9_]*\})([^\s@${}]|\$\{[A-Za-z_][A-Za-z0-9_]*\})*\Z")


class Spec(BaseModel):
    """What every part of a suite shares: frozen, unknown keys refused, field strings kept for the schema."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        populate_by_name=True,
    )

    @property
    def chosen(self) -> set[str]:
        """Fields that are not as they are when left out. What a record says of a spec, defaults and all, reads back the same."""
        return {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}


def _exactly_one(spec: Spec, *names: str) -> None:
    """Raises ValueError unless exactly one of the fields is given."""
    given = [name for name in names if getattr(spec, name) is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise ValueError(f"must have exactly one of {_list(names, 'and')} (got {got})")


def _list(names: Sequence[str], word: str) -> str:
    """Names in quotes, with a word before the last: 'a', 'b' or 'c'."""
    quoted = [repr(name) for name in names]
    return f" {word} ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


Int = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Cell = str | int | float | bool
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]{0,63}$")]
HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*(/[A-Za-z0-9][A-Za-z0-9_.\-]*)?$")]


# ---------------------------------------------------------------------------------------------------------------- data


class Fields(Spec):
    """Which columns of the data hold what."""

    input: Text | None = None
    """Column with the question or instruction."""
    reference: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    """Column (or columns) with a good answer; a cell may hold a list, of which any one will do."""
    id: Text | None = None
    """Column with a unique id; left out, the id is a hash of the row's content."""
    context: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    """Column (or columns) with passages the answer must rest on."""
    cluster: Text | None = None
    """Column that groups rows which belong together: they never straddle splits, and intervals are clustered by it."""
    slices: list[Text] = []
    """Columns by whose values results are broken down."""
    messages: Text | None = None
    """Column with a conversation in chat format, instead of input and reference: a list of {role, content}, or that list as
    JSON text. The assistant's turns are what is trained and asked for; with a `reference` column the conversation ends with
    the user. The turns are given as they stand: there is no `prompt` beside them, but `system` for those without a system
    message."""

    @model_validator(mode="after")
    def _input_or_messages(self) -> Fields:
        _exactly_one(self, "input", "messages")
        return self


class DataSpec(Spec):
    """Where the rows come from."""

    path: Text | None = None
    """A .jsonl, .json, .csv or .parquet file, relative to the suite."""
    hub: HubName | None = None
    """A dataset on the Hub, `owner/name`."""
    revision: str | None = None
    """The Hub revision; a commit hash makes the run reproducible."""
    config: str | None = None
    """The Hub dataset's configuration."""
    hub_split: str = "train"
    """The Hub dataset's own split that holds the rows."""
    fields: Fields
    turns: Literal["last", "every"] = "last"
    """Which of the assistant's turns in a conversation candidates answer: the last, or every one, each a sample of its own
    (`ID#1`, `ID#2`) in a cluster, the conversation. Trainings learn every turn either way, and a split's `limit` counts
    conversations."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Use only the first rows of the file."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Refuse a file with another SHA-256 (64 lower-case hex digits)."""

    @model_validator(mode="after")
    def _one_source(self) -> DataSpec:
        _exactly_one(self, "path", "hub")
        if self.turns == "every" and self.fields.messages is None:
            raise ValueError("must have conversations (fields: {messages: COLUMN}) where 'turns' is every")
        if self.turns == "every" and self.fields.reference is not None:
            raise ValueError("must have 'turns' last beside a 'reference' column, which holds the last answer alone")
        return self


class Split(Spec):
    """A selection of rows with one purpose."""

    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the rows, drawn by a hash of seed and cluster (or id)."""
    path: Text | None = None
    """A file of its own, with the same columns as the data, or with `fields` of its own."""
    fields: Fields | None = None
    """Which columns of the split's own file hold what, where they are not the data's."""
    where: Annotated[dict[str, Cell | Annotated[list[Cell], Field(min_length=1)]], Field(min_length=1)] | None = None
    """Rows whose columns equal these values (or one of a list of values)."""
    use: Literal["evaluation", "training", "validation"] = "evaluation"
    """What the split is for. Candidates answer evaluation splits; trainings read training splits."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Keep this many rows, drawn by hash, so that appending rows changes few of them."""

    @model_validator(mode="after")
    def _one_selection(self) -> Split:
        _exactly_one(self, "share", "path", "where")
        if self.fields is not None and self.path is None:
            raise ValueError("must have a 'path' beside 'fields': other rows have the columns of the data")
        return self


class Contamination(Spec):
    """How training rows are compared with evaluation rows, and how much overlap is accepted."""

    near: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Jaccard similarity of word 3-grams of the inputs from which two rows count as near duplicates."""
    allow_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of evaluation rows that may overlap before a training is refused."""


# ---------------------------------------------------------------------------------------------------------- candidates


class TransformersModel(Spec):
    """A language model loaded with transformers, with or without a LoRA adapter: causal, or encoder and decoder (T5)."""

    kind: Literal["transformers"]
    path: Text
    """`embedded:NAME`, a folder relative to the suite, or a Hub name `owner/name`."""
    adapter: Text | None = None
    """A PEFT adapter: `embedded:NAME`, a folder, or a Hub name."""
    revision: Text | None = None
    """The Hub revision of `path`; a commit hash makes the run reproducible."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: float32 on CPU, bfloat16 on a GPU that has it."""
    quantization: Literal["nf4", "int8"] | None = None
    """Load the weights in 4 or 8 bits (needs bitsandbytes; on a CPU it saves memory and costs time)."""
    chat_template: Text | None = None
    """A Jinja file that replaces the tokenizer's chat template."""
    batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """Upper bound on prompt tokens times rows in a batch; left out, chosen for the device."""


class Price(Spec):
    """What an endpoint asks for tokens, in any currency."""

    input: Annotated[float, Field(ge=0)]
    """Of a million prompt tokens."""
    output: Annotated[float, Field(ge=0)]
    """Of a million completion tokens, reasoning included."""


class OpenAIModel(Spec):
    """A model behind an OpenAI-compatible endpoint.

    All candidates and judges that name the same model at the same address share its limits and budget; the smallest
    that any of them states holds. All that talk to one host share its cool-down after a rate limit.
    """

    kind: Literal["openai"]
    name: Text
    """The model's name at the endpoint."""
    base_url: str | None = None
    """Such as `http://localhost:8000/v1`; `${NAME}` stands for an environment variable. Left out, OpenAI's own.
    With `?api-version=…`, as Azure has it, the key is sent as header `api-key`."""
    api_key: str | None = None
    """A reference `env:NAME`; never the key itself."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Requests in flight at once."""
    requests_per_minute: Int | None = None
    """At most so many requests start within any 60 seconds."""
    tokens_per_minute: Int | None = None
    """At most so many tokens, prompt and completion, belong to requests that start within any 60 seconds."""
    timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds a request may take."""
    max_retries: Annotated[int, Field(ge=0, le=20)] = 4
    """Further tries after a failure that may pass: a time-out, a rate limit, a server error."""
    price: Price | None = None
    """What a million tokens cost; left out, costs are unknown (and never shown as 0)."""
    max_requests: Int | None = None
    """At most so many requests in one command, failed tries included; what is left stays unanswered and the run incomplete."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """At most this cost in one command, in the currency of `price`, checked before each request."""

    @model_validator(mode="after")
    def _cost_needs_a_price(self) -> OpenAIModel:
        if self.max_cost is not None and self.price is None:
            raise ValueError("must have a 'price' beside 'max_cost', such as price: {input: 0.4, output: 1.6}")
        return self

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not ENDPOINT.match(value):
            raise ValueError(
                "must be an http or https address without a password, in which ${NAME} may stand for an environment "
                "variable, such as http://localhost:8000/v1 or ${OPENAI_BASE_URL}"
            )
        return value

    @field_validator("api_key")
    @classmethod
    def _reference_only(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError(
                "must be a reference such as env:OPENAI_API_KEY (got something else, not shown here). "
                "A key never stands in a suite: put it into an environment variable"
            )
        return value


class AnswersModel(Spec):
    """Recorded answers, one JSON object a line: {id or input, answer}."""

    kind: Literal["answers"]
    path: Text
    """A .jsonl file, relative to the suite."""


ModelSpec = Annotated[TransformersModel | OpenAIModel | AnswersModel, Field(discriminator="kind")]


class ZeroShot(Spec):
    """The prompt alone."""

    kind: Literal["zero_shot"]


class FewShot(Spec):
    """The prompt after a few worked examples, the same for every sample."""

    kind: Literal["few_shot"]
    split: str = "train"
    """The training split the examples are drawn from."""
    shots: Annotated[int, Field(ge=1, le=64)] = 3
    """Number of examples."""


class Retrieval(Spec):
    """The prompt after the k rows of a split whose inputs are nearest to the sample's."""

    kind: Literal["retrieval"]
    split: str = "train"
    """The training split whose rows are searched."""
    k: Annotated[int, Field(ge=1, le=64)] = 3
    """Number of rows put into the prompt."""
    encoder: Text = "tfidf"
    """`tfidf`, or an encoder such as `embedded:minilm`."""


PromptingSpec = Annotated[ZeroShot | FewShot | Retrieval, Field(discriminator="kind")]


class Generation(Spec):
    """How answers are decoded."""

    max_new_tokens: Annotated[int, Field(ge=1, le=65536)] = 128
    """An answer ends after this many tokens at the latest."""
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling: draw from the likeliest tokens that hold this much probability."""
    stop: list[Text] = []
    """Texts at which an answer ends; they are cut off."""


LORA_OPTIONS = ("rank", "alpha", "dropout", "target_modules", "bias", "dora", "rslora", "init")
"""Options of a training that mean something to `method: lora` alone."""
PACING = ("keep_share", "save_steps", "logging_steps", "tensorboard")
"""Options of a training that change nothing of what it makes."""
EVALUATION = ("validation", "evaluate_samples", "evaluate_with", "select", "early_stopping")
"""Options of a training that mean something beside `evaluate_every` alone."""
LOSS = "loss"
"""What `select` and `early_stopping.metric` call the validation loss; no judge's name beside them."""
OBJECTIVE_OPTIONS = {
    "preferences": ("dpo", "reward"),
    "beta": ("dpo", "grpo", "rloo"),
    "loss_type": ("dpo", "grpo"),
    "reward": ("grpo", "rloo"),
    "num_generations": ("grpo", "rloo"),
    "temperature": ("grpo", "rloo"),
}
"""Options of a training that mean something to some objectives alone, and to which."""
REFERRING = ("dpo", "reward", "grpo", "rloo")
"""Objectives that learn no references, and are measured from the base."""
DPO_LOSSES = (
    "sigmoid", "hinge", "ipo", "nca_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
    "sigmoid_norm",
)  # fmt: skip
GRPO_LOSSES = ("dapo", "grpo", "dr_grpo", "bnpo")


class EarlyStopping(Spec):
    """When a training ends before its last step. What it leaves is its best checkpoint."""

    patience: Int = 3
    """End after so many evaluations in a row without an improvement."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """What counts as one: better than the best so far by more than this."""
    metric: Text | None = None
    """`loss` (of the validation split), or a judge; left out, what `select` names, else `loss`."""


class Bar(Spec):
    """The score that an answer must reach: exactly one of at_least and at_most."""

    at_least: float | None = None
    """The score is at least this."""
    at_most: float | None = None
    """The score is at most this."""

    @model_validator(mode="after")
    def _one_condition(self) -> Bar:
        _exactly_one(self, "at_least", "at_most")
        return self

    def __str__(self) -> str:
        return f"at_least {self.at_least:g}" if self.at_least is not None else f"at_most {self.at_most:g}"

    def passes(self, score: float) -> bool:
        """Whether a score reaches the bar; the bar itself does."""
        if self.at_least is not None:
            return score >= self.at_least
        return self.at_most is not None and score <= self.at_most


def _teacher_kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return value.get("kind")
    return str(getattr(value, "kind", "candidate"))


TeacherSpec = Annotated[
    Annotated[Text, Tag("candidate")]
    | Annotated[TransformersModel, Tag("transformers")]
    | Annotated[OpenAIModel, Tag("openai")]
    | Annotated[AnswersModel, Tag("answers")],
    Discriminator(_teacher_kind),
]
"""The name of a candidate, or a model."""


class Launcher(Spec):
    """Several processes for one training, one a GPU, or on the CPU where there is none.

    The rows of a step stay what the recipe says; the processes divide them.
    """

    kind: Literal["accelerate"]
    processes: Int
    """Processes, of all machines together. It divides gradient_accumulation or batch_size."""
    strategy: Literal["ddp", "fsdp", "deepspeed"] = "ddp"
    """`ddp`: every process holds the model. `fsdp` and `deepspeed` divide it, and need GPUs."""
    config: Text | None = None
    """A file that `accelerate config` wrote: machines, and options of FSDP or DeepSpeed. What stands here goes before it."""


class TrainSpec(Spec):
    """A training that makes a candidate. A list in place of a single value makes one candidate an entry: a sweep."""

    _lists: Mapping[str, Sequence[Any]] = PrivateAttr(default={})
    _variants: Mapping[str, TrainSpec] = PrivateAttr(default={})

    base: str
    """The candidate whose model is trained; it must be of kind transformers, without an adapter."""
    split: str | None = None
    """The training split; left out, the only split with `use: training`."""
    teacher: TeacherSpec | None = None
    """A candidate of the suite, or a model, whose answers are trained instead of the references (distillation)."""
    keep: dict[Text, Bar] = {}
    """By judge of the suite, the score that a teacher's answer must reach; other rows are left out and counted."""
    keep_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Refuse to train where fewer than this share of the rows is left with a teacher's answer."""
    method: Literal["lora", "full", "head", "last_layers"] = "lora"
    """What is trained. `lora`: low-rank adapters beside the frozen weights. `full`: every weight. `head`: the output layer
    alone. `last_layers`: the last layers, the norm after them and the output layer. An output layer that is tied to the
    input embeddings gets weights of its own first, so that the embeddings stay as they are."""
    last_layers: Int = 1
    """How many layers `method: last_layers` trains."""
    objective: Literal["supervised", "language_modelling", "dpo", "reward", "grpo", "rloo"] = "supervised"
    """What is learnt. `supervised`: answers to prompts. `language_modelling`: raw text, the input column as it stands, every
    token of it (continued pre-training); long texts are cut into pieces of `max_length`, of which no token is lost. `dpo`: to
    prefer, from pairs of answers. `grpo` and `rloo`: to be scored well by judges, on answers of its own. `reward`: to score
    answers, from pairs; for a judge of kind `reward` only."""
    preferences: Text | None = None
    """Of `dpo` and `reward`: a file of lines {input or messages, chosen, rejected}, relative to the suite."""
    reward: Name | Annotated[dict[Name, float], Field(min_length=1)] | None = None
    """Of `grpo` and `rloo`: the judge of this suite whose score is the reward, or several with their weights; a metric that is
    better when lower has a negative one."""
    num_generations: Annotated[int, Field(ge=2)] = 4
    """Of `grpo` and `rloo`: answers drawn to each prompt, which are compared with each other."""
    temperature: Annotated[float, Field(gt=0, le=5)] = 1.0
    """Of `grpo` and `rloo`: at which answers are drawn. Their length and top_p are the candidate's `generation`."""
    beta: Annotated[float, Field(ge=0)] | None = None
    """How strongly the base holds the policy back; left out, TRL's: 0.1 for `dpo`, 0 for `grpo`, 0.05 for `rloo`."""
    loss_type: (
        Literal[
            "sigmoid", "hinge", "ipo", "nca_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down",
            "discopop", "sigmoid_norm", "dapo", "grpo", "dr_grpo", "bnpo",
        ]
        | None
    ) = None  # fmt: skip
    """Of `dpo` and `grpo`, by TRL's names; left out, `sigmoid` and `dapo`."""
    rank: Int = 16
    """LoRA r."""
    alpha: Rate = 16.0
    """LoRA alpha."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """LoRA dropout."""
    target_modules: Annotated[list[Text], Field(min_length=1)] | Literal["all-linear"] | None = None
    """Left out, PEFT's default for the architecture (Llama: q_proj and v_proj)."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases are trained too."""
    dora: bool = False
    """DoRA: direction and magnitude of each weight are adapted apart."""
    rslora: bool = False
    """Rank-stabilised LoRA: the update is scaled by alpha / sqrt(rank) instead of alpha / rank."""
    init: Literal["default", "gaussian", "orthogonal", "olora", "pissa"] = "default"
    """How LoRA begins: `default` (Kaiming) and `gaussian` as the base itself, `orthogonal` with an even rank; `olora` and
    `pissa` from the base's own weights, and are written as a plain adapter of twice the rank."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the training split."""
    max_steps: Int | None = None
    """Stop after this many optimizer steps, whatever `epochs` says."""
    learning_rate: Rate = 2.0e-4
    """Of the first step, or after the warm-up."""
    scheduler: Literal["constant", "linear", "cosine", "constant_with_warmup"] = "constant"
    """How the learning rate goes over the steps."""
    warmup: Annotated[float, Field(ge=0)] = 0.0
    """Below 1 a share of the steps, from 1 a number of steps."""
    optimizer: Literal["adamw_torch", "adamw_torch_fused", "paged_adamw_32bit"] = "adamw_torch"
    """`paged_adamw_32bit` needs bitsandbytes; without a GPU there is nothing to page, and it runs as plain AdamW."""
    batch_size: Int = 4
    """Rows in a forward pass."""
    gradient_accumulation: Int = 1
    """Forward passes in an optimizer step."""
    max_length: Int = 1024
    """Tokens of prompt and answer together."""
    truncation: Literal["error", "drop"] = "error"
    """What to do with rows longer than max_length: stop and name them, or leave them out and count them."""
    allow: list[Literal["duplicates", "special_tokens", "memory"]] = []
    """What does not stop this training: rows that repeat earlier ones, answers that spell an end-of-sequence token, and an
    estimate above the memory that is free. What teaches nothing, or what the model would never meet in use (empty answers,
    two begin-of-sequence tokens, an answer without its end, a prompt other than at inference), cannot be allowed."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay of AdamW."""
    quantization: Literal["nf4"] | None = None
    """Hold the frozen weights in 4 bits, doubly quantised (QLoRA; needs bitsandbytes, and runs on a CPU too, slowly)."""
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: float32 on CPU, bfloat16 on a GPU that has it."""
    save_steps: Int = 200
    """Steps between checkpoints, from which a killed training goes on."""
    logging_steps: Int = 10
    """Steps between entries of the loss curve."""
    seed: Seed | None = None
    """Left out, the suite's seed."""
    evaluate_every: Int | Literal["epoch"] | None = None
    """Steps (or `epoch`) between evaluations on the validation split: the loss of all of its rows (not of `dpo`, `grpo` and
    `rloo`), and what the suite's judges say of greedy answers to some. The last step is always evaluated. Changes no tensor
    unless a checkpoint is selected."""
    validation: Text | None = None
    """The split to evaluate on; left out, the only split with `use: validation`."""
    evaluate_samples: Int = 50
    """How many samples of the validation split are answered and judged, drawn by the seed."""
    evaluate_with: Annotated[list[Text], Field(min_length=1)] | None = None
    """The judges; left out, all of the suite that judge a single answer and run here. Those that decide are always among them."""
    select: Text | None = None
    """Keep the checkpoint that is best by this judge, or by `loss`, instead of the last. Of equals the earliest is kept."""
    early_stopping: EarlyStopping | None = None
    """End when nothing improves any more. Left without `select`, its own metric selects."""
    tensorboard: bool = False
    """Write the log as TensorBoard event files too, into `tensorboard/` of the home (needs tensorboard)."""
    launcher: Launcher | None = None
    """Left out, one process trains, on one GPU where there is one."""

    @property
    def lists(self) -> Mapping[str, Sequence[Any]]:
        """The options that the suite gives as lists; each holds its list's first entry here."""
        return self._lists

    @property
    def variants(self) -> Mapping[str, TrainSpec]:
        """Of a sweep, each combination by its label, such as `rank=4,alpha=8`; of more than MAX_SWEEP, none."""
        return self._variants

    @classmethod
    def swept(cls) -> list[str]:
        """Names of the options that may be a list: all with a single value, but for those that make no other candidate."""
        return [name for name in single_valued(cls) if name not in PACING]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        return allow_lists(schema, cls.swept())

    @property
    def selects_by(self) -> str | None:
        """What decides which checkpoint is kept: a judge's name or `loss`; None where it is the last."""
        return self.select or self.stops_by

    @property
    def stops_by(self) -> str | None:
        """What decides when the training ends early: a judge's name or `loss`; None where nothing does."""
        if self.early_stopping is None:
            return None
        return self.early_stopping.metric or self.select or LOSS

    @model_validator(mode="after")
    def _evaluation_is_paced(self) -> TrainSpec:
        idle = [name for name in EVALUATION if name in self.chosen]
        if self.evaluate_every is None and idle:
            raise ValueError(f"must have 'evaluate_every' beside {_list(idle, 'and')}, such as evaluate_every: epoch")
        return self

    @model_validator(mode="after")
    def _keep_needs_a_teacher(self) -> TrainSpec:
        given = [name for name in ("keep", "keep_share") if name in self.chosen]
        if given and self.teacher is None:
            raise ValueError(
                f"must have a 'teacher' beside {given[0]!r}: it says which of a teacher's answers are trained"
            )
        return self

    @model_validator(mode="after")
    def _warmup_needs_schedule(self) -> TrainSpec:
        if self.warmup and self.scheduler == "constant":
            raise ValueError("must not have 'warmup' with scheduler 'constant'. Use 'constant_with_warmup'")
        return self

    @model_validator(mode="after")
    def _options_belong_to_the_method(self) -> TrainSpec:
        foreign = [name for name in LORA_OPTIONS if name in self.chosen]
        if self.method != "lora" and foreign:
            raise ValueError(
                f"must not have {_list(foreign, 'and')} with method {self.method!r} (got "
                f"{'an option' if len(foreign) == 1 else 'options'} of LoRA). Use method: lora, or leave out what is LoRA's"
            )
        if self.method != "last_layers" and "last_layers" in self.chosen:
            raise ValueError(f"must not have 'last_layers' with method {self.method!r}. Use method: last_layers")
        if self.method != "lora" and self.quantization is not None:
            raise ValueError(
                f"must not have 'quantization' with method {self.method!r}: weights in 4 bits cannot be trained "
                "themselves. Use method: lora"
            )
        return self

    @model_validator(mode="after")
    def _raw_text_is_cut(self) -> TrainSpec:
        if self.objective == "language_modelling" and self.truncation == "drop":
            raise ValueError(
                "must not have truncation 'drop' with objective 'language_modelling': long texts are cut into pieces, and all "
                "are trained. Leave it out"
            )
        if self.objective == "language_modelling" and self.teacher is not None:
            raise ValueError(
                "must not have a 'teacher' with objective 'language_modelling': raw text is no question. Leave it out"
            )
        return self

    @model_validator(mode="after")
    def _processes_divide_a_step(self) -> TrainSpec:
        if self.launcher is not None:
            processes, parts = self.launcher.processes, (self.gradient_accumulation, self.batch_size)
            if all(part % processes for part in parts):
                raise ValueError(
                    f"must have a 'gradient_accumulation' or a 'batch_size' that {processes} processes can divide (got "
                    f"{parts[0]} and {parts[1]})"
                )
            if self.objective in ("reward", "grpo", "rloo"):
                why = (
                    "what fills up a last, uneven step would be learnt from"
                    if self.objective == "reward"
                    else "its answers are scored by judges, which are in one process"
                )
                raise ValueError(f"must not have a 'launcher' with objective {self.objective!r}: {why}. Leave it out")
            if self.loss_type in ("aot", "aot_unpaired"):
                raise ValueError(
                    f"must not have loss_type {self.loss_type!r} with a 'launcher': it sorts the pairs of a batch, which "
                    "would be those of each process alone"
                )
            looks = [name for name in ("evaluate_every", "select", "early_stopping") if getattr(self, name) is not None]
            if looks:
                raise ValueError(
                    f"must not have {_list(looks, 'and')} with a 'launcher': judges are in one process, and the model that "
                    "they would judge is in others. Leave one of them out, or judge the finished training"
                )
        return self

    @model_validator(mode="after")
    def _init_can_begin_so(self) -> TrainSpec:
        if self.init == "orthogonal" and self.rank % 2:
            raise ValueError(f"must have an even 'rank' with init 'orthogonal' (got {self.rank})")
        if self.init in ("olora", "pissa"):
            beside = {"dora": self.dora, "bias": self.bias != "none", "quantization": self.quantization is not None}
            unfit = [name for name, given in beside.items() if given]
            if unfit:
                raise ValueError(
                    f"must not have {_list(unfit, 'and')} with init {self.init!r}, which changes the frozen weights. "
                    "Use init: default"
                )
        return self

    @field_validator("objective", mode="before")
    @classmethod
    def _no_ppo(cls, value: Any) -> Any:
        if value == "ppo":
            raise ValueError(
                "must be 'grpo' or 'rloo' (got 'ppo', which has left TRL). Both learn from a 'reward' too, and compare "
                "answers to one prompt with each other, so they need no second network to estimate it"
            )
        return value

    @model_validator(mode="after")
    def _options_belong_to_the_objective(self) -> TrainSpec:
        for option, objectives in OBJECTIVE_OPTIONS.items():
            given = getattr(self, option) != type(self).model_fields[option].default
            if given and self.objective not in objectives:
                raise ValueError(
                    f"must not have {option!r} with objective {self.objective!r}. "
                    f"It is an option of {_list(objectives, 'and')}"
                )
        if self.objective in OBJECTIVE_OPTIONS["preferences"] and self.preferences is None:
            raise ValueError(
                f"must have 'preferences' with objective {self.objective!r}: a file of lines {{input, chosen, rejected}}, "
                "such as muster export-preferences writes"
            )
        if self.objective in OBJECTIVE_OPTIONS["reward"] and self.reward is None:
            raise ValueError(f"must have a 'reward' with objective {self.objective!r}: a judge of this suite")
        if self.objective in REFERRING:
            self._refuse_foreign_to_reference()
        return self

    def _refuse_foreign_to_reference(self) -> None:
        """What makes no sense where pairs or drawn answers are learnt from. Raises ValueError."""
        if self.teacher is not None:
            raise ValueError(
                f"must not have a 'teacher' with objective {self.objective!r}, which learns no references: a teacher's answers "
                "can be the 'chosen' ones of a file of preferences"
            )
        if self.objective == "reward" and self.evaluate_every is not None:
            raise ValueError(
                "must not have 'evaluate_every' with objective 'reward': a reward model gives no answers to judge. Hold it "
                "against people's labels with muster calibrate"
            )
        if LOSS in (self.selects_by, self.stops_by):
            raise ValueError(
                f"must have a judge in 'select' and 'early_stopping' with objective {self.objective!r}: the validation split "
                "has no pairs and no drawn answers that a loss could be taken of"
            )
        methods = ("lora", "full") if self.objective in OBJECTIVE_OPTIONS["preferences"] else ("lora",)
        if self.method not in methods:
            raise ValueError(
                f"must have method {_list(methods, 'or')} with objective {self.objective!r} (got {self.method!r})"
                + (
                    ": the policy is measured from its base, which is what is left with the adapter switched off"
                    if self.rewards
                    else ""
                )
            )
        if self.init in ("olora", "pissa"):
            raise ValueError(
                f"must not have init {self.init!r} with objective {self.objective!r}: it changes the frozen weights, and they "
                "are what the policy is measured from"
            )

    @model_validator(mode="after")
    def _objective_can_be_reached(self) -> TrainSpec:
        losses = {"dpo": DPO_LOSSES, "grpo": GRPO_LOSSES}.get(self.objective, ())
        if self.loss_type is not None and self.loss_type not in losses:
            raise ValueError(
                f"must have as 'loss_type' of {self.objective!r} {_list(losses, 'or')} (got {self.loss_type!r})"
            )
        if self.dropout and self.objective in OBJECTIVE_OPTIONS["beta"]:
            raise ValueError(
                f"must not have 'dropout' with objective {self.objective!r}: it would make the policy differ from its "
                "reference by chance"
            )
        answers = self.batch_size * self.gradient_accumulation
        if self.objective in OBJECTIVE_OPTIONS["reward"] and answers % self.num_generations:
            raise ValueError(
                "must have as batch_size times gradient_accumulation a multiple of num_generations, for the answers to a "
                f"prompt are compared within a step (got {answers} and {self.num_generations})"
            )
        return self

    @property
    def rewards(self) -> dict[str, float]:
        """The judges that reward, with their weights; none for an objective without."""
        return {self.reward: 1.0} if isinstance(self.reward, str) else dict(self.reward or {})


def _swept(value: Any, validate: ValidatorFunctionWrapHandler) -> TrainSpec:
    """A training whose lists have been told apart: its own options are single values, whatever the suite holds."""
    lists = listed(value, TrainSpec.swept())
    if not lists:
        spec: TrainSpec = validate(value)
        return spec
    first, variants = validate_each(value, lists, validate)
    spec = first.model_copy()
    spec._lists, spec._variants = lists, variants
    return spec


class CandidateSpec(Spec):
    """A model, or a training of one, with its way of prompting: what a gate decides about."""

    model: ModelSpec | None = None
    """The model that answers."""
    train: Annotated[TrainSpec, WrapValidator(_swept)] | None = None
    """The training that makes the model."""
    prompting: PromptingSpec = ZeroShot(kind="zero_shot")
    """What stands around the suite's prompt."""
    generation: Generation | None = None
    """Replaces the suite's generation settings for this candidate."""

    @model_validator(mode="after")
    def _model_or_train(self) -> CandidateSpec:
        _exactly_one(self, "model", "train")
        return self


# -------------------------------------------------------------------------------------------------------------- judges


class JudgeSpec(Spec):
    """What all judges share."""

    splits: Annotated[list[str], Field(min_length=1)] | None = None
    """Evaluation splits to judge; left out, all."""
    repeats: Annotated[int, Field(ge=2, le=100)] | None = None
    """Judge noise: so many further calls on a few random cases, and the variance between calls in the report."""
    repeat_cases: Int = 50
    """How many cases are judged again; the seed draws them."""


class EntailmentSpec(JudgeSpec):
    """P(entailment) of the whole answer by the reference (or the context)."""

    kind: Literal["entailment"] = "entailment"
    model: str = "embedded:nli"
    premise: Literal["reference", "context"] | None = None
    """Left out, the reference where there is one, else the context."""


class CorrectnessSpec(JudgeSpec):
    """How far the answer is entailed by the reference, sentence by sentence."""

    kind: Literal["correctness"] = "correctness"
    model: str = "embedded:nli"
    direction: Literal["forward", "backward", "both"] = "both"
    """forward: the reference entails the answer (precision); backward: the answer entails the reference (coverage)."""


class HallucinationSpec(JudgeSpec):
    """Share of the answer that is contradicted or, given a context, unsupported."""

    kind: Literal["hallucination"] = "hallucination"
    model: str = "embedded:nli"
    samples: Annotated[int, Field(ge=1, le=100)] = 5
    """Further answers drawn of the candidate, and held against its answer, where a sample has neither context nor reference."""


class ContextRelevanceSpec(JudgeSpec):
    """How much of what the candidate retrieved addresses the input."""

    kind: Literal["context_relevance"] = "context_relevance"
    model: str = "embedded:minilm"


class RetrievalSpec(JudgeSpec):
    """context_recall: is the reference supported by what was retrieved? faithfulness: is the answer?"""

    kind: Literal["context_recall", "faithfulness"]
    model: str = "embedded:nli"


class RelevancySpec(JudgeSpec):
    """How well the answer addresses the input."""

    kind: Literal["relevancy"] = "relevancy"
    model: str = "embedded:minilm"
    """Embeds sentences, for their similarity to the input."""
    classifier: str = "embedded:relevance"
    """Reads input and passage together: a pair classifier with a label `relevant`, or with one label, as rerankers have."""


class ToxicitySpec(JudgeSpec):
    """P(harmful or offensive), worst sentence."""

    kind: Literal["toxicity"] = "toxicity"
    model: str = "embedded:toxicity"
    toxic_labels: Annotated[list[Text], Field(min_length=1)] | None = None
    """Labels of the model that count as toxic; left out, they are known by their usual names."""


class GEvalSpec(JudgeSpec):
    """G-Eval: criteria, chain-of-thought steps, a form that asks for the score alone, probability-weighted."""

    kind: Literal["geval"]
    criteria: Text | Annotated[dict[Name, Text], Field(min_length=1)]
    """What a good answer does, in a sentence or a few; or several criteria by name, whose mean is the score."""
    scale: Annotated[tuple[int, int], Field(strict=False)] = (1, 5)
    """Lowest and highest score the judge may give; the result is scaled to 0..1."""
    steps: (
        Annotated[list[Text], Field(min_length=1)] | dict[Name, Annotated[list[Text], Field(min_length=1)]] | None
    ) = None
    """Pinned evaluation steps (of several criteria, by name); left out, the judge writes them once and they are stored."""
    shows: Annotated[list[Literal["input", "reference", "context"]], Field(min_length=1)] | None = None
    """What the form shows beside the answer; left out, the input, and what the criteria call by its name: reference, context."""
    reason: bool = False
    """Ask for a reason after the score is fixed; it goes into the evidence."""
    model: ModelSpec
    """The model that judges: of kind transformers or openai."""
    samples: Annotated[int, Field(ge=1, le=100)] = 20
    """Draws in sampled mode, used where the endpoint gives no logprobs."""
    mode: Literal["auto", "exact", "topk", "sampled"] = "auto"
    """exact: models that run here. topk: endpoints with logprobs. sampled: any endpoint. auto: the first of these there is."""

    @field_validator("scale")
    @classmethod
    def _ascending(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not value[0] < value[1]:
            raise ValueError(f"must be [low, high] with low below high (got {list(value)})")
        if value[1] - value[0] > 100:
            raise ValueError(f"must span at most 100 steps (got {list(value)})")
        return value

    @model_validator(mode="after")
    def _steps_of_criteria(self) -> GEvalSpec:
        several = isinstance(self.criteria, dict)
        if self.steps is not None and several != isinstance(self.steps, dict):
            shape = "a list for each of the criteria, by name" if several else "a list, for there is one criterion"
            raise ValueError(f"must have as 'steps' {shape}")
        if isinstance(self.criteria, dict) and isinstance(self.steps, dict):
            unknown = [name for name in self.steps if name not in self.criteria]
            if unknown:
                raise ValueError(f"must have steps of its criteria only (got {_list(unknown, 'and')})")
        return self


class PairwiseSpec(JudgeSpec):
    """Which of two answers a language model prefers, asked in both orders: a candidate's against its opponent's."""

    kind: Literal["pairwise"]
    criteria: Text
    """What makes an answer the better one, in a sentence or a few."""
    model: ModelSpec
    """The model that judges: of kind transformers or openai."""
    against: Text | None = None
    """The candidate whose answers are the opponents, or `all` for every other candidate; left out, the gate's baseline."""
    shows: Annotated[list[Literal["input", "reference", "context"]], Field(min_length=1)] | None = None
    """What the form shows beside the answers; left out, the input, and what the criteria call by its name: reference, context."""
    samples: Annotated[int, Field(ge=1, le=100)] = 1
    """Replies to each order where the endpoint gives no logprobs: one at temperature 0, more at temperature 1."""


class RewardSpec(JudgeSpec):
    """What a reward model gives the answer: the chance that it is preferred to an average one."""

    kind: Literal["reward"] = "reward"
    model: TransformersModel | None = None
    """A reward model: a base with an adapter of `objective: reward`, or a checkpoint that classifies with one label."""
    train: TrainSpec | None = None
    """The training that makes the model, of `objective: reward`, which may be left out here."""

    @field_validator("train", mode="before")
    @classmethod
    def _learns_a_reward(cls, value: Any) -> Any:
        return {"objective": "reward", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _model_or_train(self) -> RewardSpec:
        _exactly_one(self, "model", "train")
        if self.train is not None and self.train.objective != "reward":
            raise ValueError(f"must have a training with objective 'reward' (got {self.train.objective!r})")
        return self


class OverlapSpec(JudgeSpec):
    """Agreement of the texts themselves."""

    kind: Literal["rouge", "bleu", "chrf", "exact_match", "token_f1"]


class RegexSpec(JudgeSpec):
    """1 where the answer matches a pattern, else 0."""

    kind: Literal["regex"]
    pattern: Text
    """A Python regular expression, searched for anywhere in the answer."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"must be a regular expression (got {value!r}: {error})") from None
        return value


class JsonSchemaSpec(JudgeSpec):
    """1 where the answer is JSON that the schema accepts, else 0."""

    kind: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")
    """A JSON Schema (draft 2020-12)."""

    @field_validator("json_schema")
    @classmethod
    def _is_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        import jsonschema

        try:
            jsonschema.Draft202012Validator.check_schema(value)
        except jsonschema.SchemaError as error:
            where = "/".join(str(part) for part in error.path)
            raise ValueError(f"must be a JSON Schema ({where or 'top'}: {error.message[:200]})") from None
        return value


class CustomSpec(JudgeSpec):
    """A judge of one's own, made by a Python function. It runs with --trust-code only, unless its package is installed as one."""

    kind: Literal["custom"]
    factory: Text
    """`package.module:function`: called once with the options, returns a judge or a function of a case."""
    options: dict[str, Any] = {}
    """Keyword arguments of the factory."""
    direction: Literal["higher", "lower"] = "higher"
    """Which end of its scale of 0 to 1 is good."""

    @field_validator("factory")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not FACTORY.match(value):
            raise ValueError(f"must be package.module:function (got {value!r})")
        return value

    @field_validator("options")
    @classmethod
    def _are_keywords(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not name.isidentifier():
                raise ValueError(f"must have names that can be keyword arguments (got {name!r})")
        if not _is_json(value):
            raise ValueError("must hold texts, finite numbers, true, false, lists and mappings only")
        return value


class PerplexitySpec(JudgeSpec):
    """Perplexity of the reference under the candidate, for candidates that run here."""

    kind: Literal["perplexity"] = "perplexity"


class ChoiceSpec(JudgeSpec):
    """Multiple choice by log-likelihood: 1 where the candidate finds the right choice likeliest, else 0."""

    kind: Literal["mcq"]
    choices: Text
    """Column with the list of choices; the reference is the text of the right one, or its number from 0."""
    normalisation: Literal["characters", "bytes", "none"] = "characters"
    """What a choice's log-likelihood is divided by: its length (acc_norm, acc_bytes) or nothing (acc)."""


def label_words(text: str) -> str:
    """Lower case, punctuation and white space as single spaces: what labels and answers are compared by."""
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


class ClassificationSpec(JudgeSpec):
    """Which label the answer names: accuracy, or macro-F1 over the labels."""

    kind: Literal["classification", "macro_f1"]
    labels: Annotated[list[Text], Field(min_length=2)]
    """All labels; the reference is one of them, letter case and punctuation aside."""

    @field_validator("labels")
    @classmethod
    def _apart(cls, value: list[str]) -> list[str]:
        words = [label_words(label) for label in value]
        if not all(words) or len(set(words)) < len(words):
            raise ValueError(f"must differ in more than letter case and punctuation, and hold letters (got {value})")
        return value


def _judge_kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind == "macro_f1":
        return "classification"
    if kind in ("context_recall", "faithfulness"):
        return "retrieval"
    return "overlap" if kind in ("rouge", "bleu", "chrf", "exact_match", "token_f1") else kind


AnyJudgeSpec = Annotated[
    Annotated[EntailmentSpec, Tag("entailment")]
    | Annotated[CorrectnessSpec, Tag("correctness")]
    | Annotated[HallucinationSpec, Tag("hallucination")]
    | Annotated[ContextRelevanceSpec, Tag("context_relevance")]
    | Annotated[RetrievalSpec, Tag("retrieval")]
    | Annotated[RelevancySpec, Tag("relevancy")]
    | Annotated[ToxicitySpec, Tag("toxicity")]
    | Annotated[GEvalSpec, Tag("geval")]
    | Annotated[PairwiseSpec, Tag("pairwise")]
    | Annotated[RewardSpec, Tag("reward")]
    | Annotated[OverlapSpec, Tag("overlap")]
    | Annotated[RegexSpec, Tag("regex")]
    | Annotated[JsonSchemaSpec, Tag("json_schema")]
    | Annotated[PerplexitySpec, Tag("perplexity")]
    | Annotated[ChoiceSpec, Tag("mcq")]
    | Annotated[ClassificationSpec, Tag("classification")]
    | Annotated[CustomSpec, Tag("custom")],
    Discriminator(_judge_kind),
]
"""A judge is named by its key; `kind` may be left out where the key is itself a kind (the loader fills it in)."""

JUDGE_KINDS = (
    "entailment", "correctness", "hallucination", "context_relevance", "context_recall", "faithfulness",
    "relevancy", "toxicity", "geval", "pairwise", "reward",
    "rouge", "bleu", "chrf", "exact_match", "token_f1", "regex", "json_schema",
    "perplexity", "mcq", "classification", "macro_f1", "custom",
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- gate


def cell_texts(value: Cell | list[Cell]) -> list[str]:
    """What `where` names for a column, as the samples' slices hold it: texts, and a truth value as true or false."""
    cells = value if isinstance(value, list) else [value]
    return [str(cell).lower() if isinstance(cell, bool) else str(cell) for cell in cells]


CONDITIONS = ("at_least", "at_most", "better_by", "no_worse_by", "coverage", "latency", "cost")
OF_SCORES = ("at_least", "at_most", "better_by", "no_worse_by")
"""Conditions on the scores of a `metric`."""
OF_ANSWERS = ("latency", "cost")
"""Conditions on the answers themselves, and what a rule's `metric` may name beside judges: seconds and money an answer."""


class Rule(Spec):
    """One condition: a `metric` with one of at_least, at_most, better_by, no_worse_by; or `coverage`, `latency` or `cost`."""

    metric: str | None = None
    """A judge of the suite; or `latency` (seconds an answer) or `cost` (of an answer), of which the mean counts."""
    split: str | None = None
    """The evaluation split; left out, the only one (or `test`)."""
    at_least: float | None = None
    """The mean is at least this."""
    at_most: float | None = None
    """The mean is at most this."""
    better_by: Annotated[float, Field(ge=0)] | None = None
    """Better than the baseline by more than this, in the metric's own direction."""
    no_worse_by: Annotated[float, Field(gt=0)] | None = None
    """Not worse than the baseline by this margin (non-inferiority)."""
    coverage: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of answers that must have a score, for every metric of the gate (or for `metric`)."""
    latency: Rate | None = None
    """Seconds within which the share `quantile` of the answers must come."""
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Beside `latency`: the share of the answers; left out, 0.95."""
    cost: Annotated[float, Field(ge=0)] | None = None
    """What an answer may cost at most on average, in the currency of the candidates' `price`."""
    where: Annotated[dict[str, Cell | Annotated[list[Cell], Field(min_length=1)]], Field(min_length=1)] | None = None
    """Only samples whose columns, of `data.fields.slices`, equal these values (or one of a list of values)."""
    each: Text | None = None
    """A column of `data.fields.slices`: the rule holds for every value of it by itself."""
    min_n: Annotated[int, Field(ge=1)] | None = None
    """Beside `each`: slices with fewer samples are left out, with a word; without it they are inconclusive."""
    must_pass: Annotated[list[Text], Field(min_length=1)] | Text | None = None
    """Ids of samples, or a text file with one a line: each of them by itself must have a score within `at_least` or `at_most`."""

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        _exactly_one(self, *CONDITIONS)
        if self.metric is None and self.condition in OF_SCORES:
            raise ValueError(f"must have a 'metric' beside '{self.condition}'")
        if self.metric is not None and self.condition in OF_ANSWERS:
            raise ValueError(f"must have no 'metric' beside '{self.condition}' (got {self.metric!r})")
        for option, beside in (("quantile", "latency"), ("min_n", "each")):
            if getattr(self, option) is not None and getattr(self, beside) is None:
                raise ValueError(f"must have {beside!r} beside {option!r}")
        if self.must_pass is not None and self.condition not in ("at_least", "at_most"):
            raise ValueError(f"must have 'at_least' or 'at_most' beside 'must_pass' (got {self.condition!r})")
        if self.must_pass is not None and (self.where is not None or self.each is not None):
            raise ValueError("must have no 'where' and no 'each' beside 'must_pass', which names its samples")
        return self

    @property
    def condition(self) -> str:
        """The one of CONDITIONS that this rule states."""
        return next(name for name in CONDITIONS if getattr(self, name) is not None)

    @property
    def is_paired(self) -> bool:
        """Whether the rule compares with the baseline."""
        return self.better_by is not None or self.no_worse_by is not None


class Gate(Spec):
    """When a candidate may be deployed."""

    baseline: str | None = None
    """Whom the candidates are compared with: one of them, or a blessed baseline (`baselines/NAME.json` beside the suite)."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """One-sided confidence of each bound."""
    rules: Annotated[list[Rule], Field(min_length=1)]

    @model_validator(mode="after")
    def _baseline_where_needed(self) -> Gate:
        if self.baseline is None and any(rule.is_paired for rule in self.rules):
            raise ValueError("must have a 'baseline': 'better_by' and 'no_worse_by' compare with one")
        return self


# --------------------------------------------------------------------------------------------------------------- suite


class Suite(Spec):
    """The whole: data, splits, candidates, judges and a gate."""

    suite: Name
    """The suite's name."""
    version: Int = 1
    """The version of this suite's content, raised by its author."""
    description: str = ""
    """A sentence or two for the report."""
    seed: Seed = 0
    """Decides splits, drawn rows, trainings and sampled answers."""
    data: DataSpec
    """Where the rows come from."""
    splits: Annotated[dict[str, Split], Field(min_length=1)]
    """Named selections of rows: what candidates train on, and what they answer."""
    contamination: Contamination = Contamination()
    """How overlap between training and evaluation rows is found, and how much is accepted."""
    system: str | None = None
    """A system message for every prompt."""
    prompt: str = "{{ input }}"
    """A Jinja template of the user's message; columns of the row are its variables, and `input`. Not for conversations."""
    generation: Generation = Generation()
    """How answers are decoded."""
    candidates: Annotated[dict[str, CandidateSpec], Field(min_length=1)]
    """What is compared: models, or trainings of them."""
    judges: Annotated[dict[str, AnyJudgeSpec], Field(min_length=1)]
    """What scores the answers; each judge is a metric of its name."""
    gate: Gate | None = None
    """When a candidate may be deployed; left out, nothing is decided."""

    def evaluation_splits(self) -> list[str]:
        """Names of the splits that candidates answer, in the order of the file."""
        return [name for name, split in self.splits.items() if split.use == "evaluation"]

    def default_split(self) -> str | None:
        """The split of gate rules that name none: the only evaluation split, or `test`."""
        splits = self.evaluation_splits()
        return splits[0] if len(splits) == 1 else "test" if "test" in splits else None

    def opponents(self, metric: str) -> list[str]:
        """The candidates whose answers a pairwise judge shows beside the others'; none for any other judge.

        `against: all` means every candidate; nobody but a judge's one opponent is compared with its own answers.
        """
        spec = self.judges[metric]
        if not isinstance(spec, PairwiseSpec):
            return []
        if spec.against == "all":
            return list(self.candidates)
        opponent = spec.against or (self.gate.baseline if self.gate is not None else None)
        return [opponent] if opponent is not None else []

    def training_split(self, spec: TrainSpec) -> str:
        """The split a training reads: its own, or the only one with `use: training`."""
        if spec.split is not None:
            return spec.split
        return next(name for name, split in self.splits.items() if split.use == "training")

    def validation_split(self, spec: TrainSpec) -> str | None:
        """The split a training is evaluated on: its own, or the only one with `use: validation`; None where it is not."""
        if spec.evaluate_every is None:
            return None
        return spec.validation or next(name for name, split in self.splits.items() if split.use == "validation")
