"""Where the models of a run work: in this process, or in workers of Ray on one machine or many.

Guarantees: both give the same rows under the same keys, to the rounding of float32 (a worker batches its pieces by itself).
Workers answer and judge, and nothing else: this process alone writes, and asks endpoints, whose limits, budgets and keys hold
for the whole command; recorded answers and a suite's own code stay here too. A worker that is lost costs the piece it had:
those samples get a typed failure, and the next run asks for them again.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from harness.errors import IncompleteError, ModelError, MusterError, UserError
from harness.models.candidates import Candidate
from harness.models.load import LazyGenerator, ModelRoom
from harness.records import (
    Case,
    Completion,
    Failure,
    GenerationSettings,
    Judge,
    Judgement,
    Likelihood,
    Models,
    Prompt,
)
from harness.running import probing, runner
from harness.running.stages import completed
from harness.suite.grammar import TransformersModel

T = TypeVar("T")

START_SECONDS = 600.0
"""How long a cluster may take to find room for the first worker."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}
"""No report to Ray's makers, and none of its lines among ours: the second leaves out what it would print."""
PATIENT = {"RAY_prestart_worker_first_driver": "0", "RAY_worker_register_timeout_seconds": "600"}
"""`ray.init` waits for workers that Ray starts ahead, and for ever for one that a busy machine has not started in Ray's
minute: the raylet gives it up and still counts on it. So none is started ahead, and ours have ten minutes."""


class Keyed(runner.Answering, probing.Probed, Protocol):
    """A candidate that the runner can ask, identified by content."""

    @property
    def key(self) -> str: ...


class Engine(AbstractContextManager[Any], Protocol):
    """Where candidates answer and judges judge."""

    def answering(self, candidate: Keyed) -> Keyed:
        """The candidate as it answers there."""
        ...

    def judging(self, judge: Judge, cases: Sequence[Case]) -> Iterator[list[tuple[int, Judgement]]]:
        """What a judge says there, as `runner.Judging`."""
        ...


class Local(Engine):
    """This process."""

    def answering(self, candidate: Keyed) -> Keyed:
        return candidate

    def judging(self, judge: Judge, cases: Sequence[Case]) -> Iterator[list[tuple[int, Judgement]]]:
        return runner.judge_here(judge, cases)

    def __exit__(self, *raised: object) -> None:
        pass


def require_ray() -> None:
    """Raises UserError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("--engine ray needs the package ray. Install it with: pip install 'muster-harness[ray]'")


class Ray(Engine):
    """Workers of Ray: in the cluster at RAY_ADDRESS or, without that, in one of this machine that ends with the block.

    They start when there is something to do; each has a GPU where there are any.
    """

    def __init__(
        self,
        root: Path,
        *,
        judges: Collection[str],
        build: Callable[[Models], Callable[[str], Judge]],
        workers: int | None,
        tell: Callable[[str], None],
    ) -> None:
        """Nothing is started yet.

        Args:
            root: the suite's folder; workers on other machines must find it at the same place.
            judges: names of the judges that workers can build.
            build: picklable; given a worker's models, what builds those judges by name.
            workers: how many; None for one a GPU or, without GPUs, one a processor.
            tell: shows a line to the user.
        """
        self._root = root.resolve()
        self._judges = judges
        self._build = build
        self._count = workers or 0
        self._tell = tell
        self._ray: Any = None
        self._session: Path | None = None
        self._coming: dict[Any, Any] = {}
        self._idle: list[Any] = []

    def answering(self, candidate: Keyed) -> Keyed:
        if isinstance(candidate, Candidate) and isinstance(candidate.generator, LazyGenerator):
            return replace(candidate, generator=_Spread(here=candidate.generator, spread=self.spread))
        return candidate

    def judging(self, judge: Judge, cases: Sequence[Case]) -> Iterator[list[tuple[int, Judgement]]]:
        name = judge.metric.name
        if name not in self._judges:
            return runner.judge_here(judge, cases)

        def unscored(failure: Failure) -> Judgement:
            return Judgement(id="", metric=name, score=None, error=failure)

        return completed(self.spread("judge", (name, judge.fingerprint), cases, unscored), len(cases), unscored)

    def spread(
        self, method: str, arguments: tuple[object, ...], items: Sequence[Any], failed: Callable[[Failure], T]
    ) -> Iterator[list[tuple[int, T]]]:
        """What a method of `Workshop` makes of the items, in pieces as workers finish them, with the index of each item.

        Where a worker is lost, `failed` makes the results of its piece. Raises ModelError where a model breaks down, after what
        was under way is finished, or where no worker is left; IncompleteError where none can be had.
        """
        if not items:
            return
        if self._ray is None:
            self._start()
        waiting = deque(_pieces(len(items), self._count))
        running: dict[Any, tuple[Any, range]] = {}
        broken: ModelError | None = None
        while running or (waiting and broken is None):
            while waiting and self._idle and broken is None:
                worker, piece = self._idle.pop(), waiting.popleft()
                reference = getattr(worker, method).remote(*arguments, items[piece.start : piece.stop])
                running[reference] = worker, piece
            reference = self._next([*running, *self._coming], waits=bool(running))
            worker, piece = running.pop(reference) if reference in running else (self._coming.pop(reference), range(0))
            try:
                found = self._ray.get(reference)
                self._idle.append(worker)
                if piece:
                    yield [(piece[index], result) for index, result in found]
            except self._ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, ModelError):
                    raise error.cause if isinstance(error.cause, MusterError) else error from None
                broken = error.cause
                self._idle.append(worker)
            except self._ray.exceptions.RayError as error:
                failure = Failure(kind="worker_lost", message=f"a worker of Ray was lost ({_last_line(error)})")
                self._tell(f"{failure.message}. The same command asks again for what it had.")
                yield [(index, failed(failure)) for index in piece]
        if broken is not None:
            raise broken

    def _next(self, references: list[Any], *, waits: bool) -> Any:
        """The first of what is under way that is done; `waits` for ever where a worker works."""
        if not references:
            raise ModelError("no worker of Ray is left.")
        done, _ = self._ray.wait(references, timeout=None if waits else START_SECONDS)
        if not done:
            raise IncompleteError(f"Ray found no room for a worker within {START_SECONDS:.0f} s. Is its cluster busy?")
        return done[0]

    def _start(self) -> None:
        """Connects to the cluster, or starts one, and asks for workers."""
        address = os.environ.get("RAY_ADDRESS")
        own: dict[str, Any] = {}
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        if address:
            os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # of half a minute each: Ray's 20 are too many
        else:
            processors = max(os.cpu_count() or 1, self._count)
            own = {"address": "local", "num_cpus": processors, "include_dashboard": False}
            for name, value in PATIENT.items():
                os.environ.setdefault(name, value)
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # its ports are open to nobody else
        import ray

        self._ray = ray
        try:
            context = ray.init(**own, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"reached at RAY_ADDRESS ({address})" if address else "started"
            raise IncompleteError(f"Ray cannot be {where}: {_last_line(error)}") from None
        if own:
            self._session = Path(context.address_info["session_dir"])
        found = ray.cluster_resources()
        processors, cards = int(found.get("CPU", 1)), int(found.get("GPU", 0))
        self._count = self._count or cards or processors
        share = max(1, processors // self._count) if own else 1  # of a cluster, no machine need have more
        worker = ray.remote(num_cpus=share, num_gpus=1 / math.ceil(self._count / cards) if cards else 0)(Workshop)
        for _ in range(self._count):
            one = worker.remote(self._root, self._build)
            self._coming[one.__ray_ready__.remote()] = one
        self._tell(f"ray: {self._count} workers on {f'{cards} GPUs' if cards else f'{processors} processors'}")

    def __exit__(self, *raised: object) -> None:
        if self._ray is not None:
            self._ray.shutdown()
        if self._session is not None:
            shutil.rmtree(self._session, ignore_errors=True)  # what workers wrote to their logs is nobody's business


def _pieces(count: int, workers: int) -> Iterator[range]:
    """Runs of so many items, equal in length as far as they can be, as many for each worker, none longer than a chunk."""
    rounds = math.ceil(count / (workers * runner.CHUNK))
    size = math.ceil(count / (workers * rounds))
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def _last_line(error: Exception) -> str:
    """What an error of Ray's ends with: the cause, after the places it came through."""
    lines = str(error).split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), type(error).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """A generator of this machine whose prompts workers answer."""

    here: LazyGenerator
    spread: Callable[..., Iterator[list[tuple[int, Any]]]]

    @property
    def key(self) -> str:
        return self.here.key

    @property
    def _source(self) -> tuple[str, TransformersModel, Path | None]:
        adapter = self.here.adapter
        return self.here.key, self.here.spec, adapter.resolve() if adapter is not None else None

    def generate(
        self, prompts: Sequence[Prompt], settings: GenerationSettings
    ) -> Iterator[list[tuple[int, Completion]]]:
        return self.spread("generate", (*self._source, settings), prompts, lambda why: Completion(text=None, error=why))

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> Iterator[list[tuple[int, Likelihood | Failure]]]:
        return self.spread("likelihoods", self._source, pairs, lambda why: why)


class Workshop:
    """What a worker holds: models, each loaded once and when it is first asked, and judges on them.

    Each method gives results with the index of their items. It raises ModelError where a model or judge is not there, or is
    another than that of the process which started the run.
    """

    def __init__(self, root: Path, build: Callable[[Models], Callable[[str], Judge]]) -> None:
        self._models = ModelRoom(root)
        self._build = build(self._models)
        self._judges: dict[str, Judge] = {}

    def generate(
        self,
        key: str,
        spec: TransformersModel,
        adapter: Path | None,
        settings: GenerationSettings,
        prompts: Sequence[Prompt],
    ) -> list[tuple[int, Completion]]:
        """Answers of a model of this key, made of the spec and what was trained of it."""
        generator = self._generator(key, spec, adapter)
        return [found for batch in generator.generate(prompts, settings) for found in batch]

    def likelihoods(
        self, key: str, spec: TransformersModel, adapter: Path | None, pairs: Sequence[tuple[Prompt, str]]
    ) -> list[tuple[int, Likelihood | Failure]]:
        """How likely such a model finds texts."""
        return [found for batch in self._generator(key, spec, adapter).likelihoods(pairs) for found in batch]

    def judge(self, name: str, fingerprint: str, cases: Sequence[Case]) -> list[tuple[int, Judgement]]:
        """What the judge of the name says."""
        if name not in self._judges:
            self._judges[name] = self._build(name)
        _require_same(f"judge '{name}'", self._judges[name].fingerprint, fingerprint)
        return list(enumerate(runner.judged(self._judges[name], cases)))

    def _generator(self, key: str, spec: TransformersModel, adapter: Path | None) -> LazyGenerator:
        generator = self._models.generator(spec, adapter=adapter)
        assert isinstance(generator, LazyGenerator)  # of a model of this machine
        _require_same(f"model '{spec.path}'", generator.key, key)
        return generator


def _require_same(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise ModelError(f"{what} is another where a worker of Ray runs: its files or packages differ.")
