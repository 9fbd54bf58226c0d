"""Custom: a judge of one's own, made by a Python function.

`factory: package.module:function` is called once with the judge's `options` as keyword arguments and returns a function
case -> score (or (score, label, evidence)), or an object with the three members of `harness.records.Judge`. A case holds id,
answer, input, references, contexts and samples. Scores lie in 0..1; `direction: lower` says that less is better.

A factory that names them gets two things more: `metric`, the judge's name in the suite, and `models`, which gives
`embedder(name)`, `pair_classifier(name)`, `text_classifier(name)` and what else `harness.records.Models` lists.

What the code raises, and what is no number in 0..1, leaves the case unscored with the reason: never a zero. An answer that is
not there is not shown to the code at all.
The judge's fingerprint holds the options, the keys of the models and the source: every Python file of the factory's package
or, for a module that is not installed, of the modules it imports from the same folder. Changed code judges anew. A word list
or a service that the code reads is not watched: put its version into the options.

Code runs only where somebody has agreed to it: by `--trust-code`, by naming the factory on the command line, or by installing a
package that adds the kind (entry points of the group `muster.judges`). With `--trust-code` the suite's folder can be imported
from, after everything that is installed.
Judged well and ill: what its author made of it. Calibrate it.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import inspect
import json
import math
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

from harness.errors import MusterError, UserError
from harness.records import Case, Direction, Failure, Judge, Judgement, Metric, Models, fingerprint
from harness.suite.grammar import CustomSpec
from harness.suite.installed import installed_kinds
from judges.judging import Scored, judge_each

VERSION = 1
SERVICES = ("metric", "models")
"""What a factory may ask for by naming a parameter so; no option may be called like them."""


class CustomJudge:
    """Somebody's own code behind the manners of every judge: typed nulls, one judgement a case, a fingerprint by content."""

    def __init__(
        self,
        name: str,
        score: Callable[[list[Case]], list[Scored | Failure]],
        *,
        direction: Direction,
        key: Sequence[Any],
        description: Mapping[str, Any],
    ) -> None:
        self.metric = Metric(name=name, direction=direction)
        self.description = description
        self._score = score
        self._key = key

    @property
    def fingerprint(self) -> str:
        return fingerprint(["custom", VERSION, *self._key])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer",), empty=None, score=self._score)


def build_custom(name: str, spec: CustomSpec, models: Models, *, trusted: Path | None) -> CustomJudge:
    """The judge that a suite's factory makes.

    Args:
        name: The metric's name.
        spec: Factory and options.
        models: Where a factory that asks for models gets them.
        trusted: A folder from which code may be imported beside what is installed; None where nobody has agreed to run
            code, and then only factories that installed packages offer as judges are called.

    Raises:
        UserError: The code may not run, cannot be imported, does not take the options, or returns no judge; one line.
        ModelError: A model that the factory asks for cannot be had.
    """
    if trusted is None and spec.factory not in {offer.value for offer in installed_kinds().values()}:
        raise UserError(
            f"factory {spec.factory!r} is code, and a suite may run none unasked. Read it, then pass --trust-code"
        )
    factory = _import(spec.factory, trusted)
    watched = WatchedModels(models)
    arguments = _arguments(factory, spec, services={"metric": name, "models": watched})
    try:
        made = factory(**arguments)
    except MusterError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"factory {spec.factory!r} failed: {_one_line(error)}") from None
    watched.close()
    score, inner = _scoring(made, spec)
    source = source_sha(spec.factory.partition(":")[0])
    return CustomJudge(
        name,
        score,
        direction=spec.direction,
        key=(spec.factory, source, spec.options, watched.keys, inner),
        description={"factory": spec.factory, "source": source[:12], "options": dict(spec.options)},
    )


# --------------------------------------------------------------------------------------------------- importing, calling


def _import(factory: str, trusted: Path | None) -> Callable[..., Any]:
    module_name, _, function = factory.partition(":")
    with _importable(trusted):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
                where = f", nor in {trusted.name or trusted}" if trusted is not None else ""
                raise UserError(f"factory {factory!r}: no module {error.name!r} is installed{where}") from None
            raise UserError(f"factory {factory!r}: its module cannot be imported: {_one_line(error)}") from None
        except (Exception, SystemExit) as error:
            raise UserError(f"factory {factory!r}: its module cannot be imported: {_one_line(error)}") from None
    found = getattr(module, function, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    if found is not None:
        raise UserError(f"factory {factory!r} must be a function (got {type(found).__name__})")
    names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    raise UserError(f"factory {factory!r}: the module has no {function!r}{_meant(function, names)}")


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """Lets modules of a folder be imported, after everything installed, so that none is shadowed."""
    if folder is None:
        yield
        return
    entry = str(folder.resolve())
    sys.path.append(entry)
    try:
        importlib.invalidate_caches()
        yield
    finally:
        sys.path.remove(entry)


def _arguments(factory: Callable[..., Any], spec: CustomSpec, *, services: Mapping[str, Any]) -> dict[str, Any]:
    """Options and the services that the factory names. Raises UserError naming the option that is wrong."""
    taken = sorted(spec.options.keys() & set(SERVICES))
    if taken:
        raise UserError(f"option {taken[0]!r} is given by muster itself. Call it otherwise")
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        raise UserError(f"factory {spec.factory!r} must be a Python function with a signature") from None
    kinds = {parameter.kind for parameter in parameters.values()}
    named = [
        name for name, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    options = [name for name in named if name not in SERVICES]
    for name in spec.options:
        if name not in named and inspect.Parameter.VAR_KEYWORD not in kinds:
            takes = f" It takes {', '.join(options)}" if options else " It takes none"
            raise UserError(f"factory {spec.factory!r} has no option {name!r}{_meant(name, options)}.{takes}")
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL,
        )  # fmt: skip
        if needed and name not in spec.options and (name not in SERVICES or name not in named):
            raise UserError(f"factory {spec.factory!r} needs the option {name!r}. Write 'options: {{{name}: …}}'")
    return {**spec.options, **{name: service for name, service in services.items() if name in named}}


def _meant(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


class WatchedModels:
    """A room of models that remembers the key of each model it gave, until the factory has returned."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._open = True
        self.keys: list[str] = []

    def close(self) -> None:
        """From here on no model is given: its key would be missing from the judge's fingerprint."""
        self._open = False
        self.keys.sort()

    def _watch(self, model: Any) -> Any:
        if not self._open:
            raise UserError("models are given to the factory only: ask there, so that they count in the fingerprint")
        self.keys.append(model.key)
        return model

    def pair_classifier(self, name: str) -> Any:
        return self._watch(self._models.pair_classifier(name))

    def text_classifier(self, name: str) -> Any:
        return self._watch(self._models.text_classifier(name))

    def embedder(self, name: str) -> Any:
        return self._watch(self._models.embedder(name))

    def generator(self, spec: Any) -> Any:
        return self._watch(self._models.generator(spec))

    def choice_scorer(self, spec: Any) -> Any:
        return self._watch(self._models.choice_scorer(spec))

    def score_sampler(self, spec: Any) -> Any:
        return self._watch(self._models.score_sampler(spec))


# ------------------------------------------------------------------------------------------------------------- scoring


def _scoring(made: Any, spec: CustomSpec) -> tuple[Callable[[list[Case]], list[Scored | Failure]], str]:
    """How cases are scored by what the factory returned, and its own fingerprint where it has one."""
    if isinstance(made, Judge):
        metric = made.metric
        if not isinstance(metric, Metric) or (metric.low, metric.high) != (0, 1):
            raise UserError(f"factory {spec.factory!r}: the judge's metric must be a Metric from 0 to 1 (got {metric})")
        if metric.direction != spec.direction:
            raise UserError(
                f"factory {spec.factory!r}: the judge says {metric.direction} is better, the suite says"
                f" {spec.direction}. Write 'direction: {metric.direction}'"
            )
        return lambda cases: _judged(made, cases), str(made.fingerprint)
    if callable(made) and not isinstance(made, type):
        return lambda cases: [_called(made, case) for case in cases], ""
    raise UserError(
        f"factory {spec.factory!r} must return a function of a case, or a judge with metric, fingerprint and judge "
        f"(got {type(made).__name__})"
    )


def _judged(judge: Judge, cases: list[Case]) -> list[Scored | Failure]:
    """A judge's judgements, each looked over. Raises ValueError where it did not return one a case."""
    judgements = judge.judge(cases)
    if not isinstance(judgements, list) or not all(isinstance(one, Judgement) for one in judgements):
        raise ValueError(f"judge() must return a list of Judgements (got {_shown(judgements)})")
    if [one.id for one in judgements] != [case.id for case in cases]:
        raise ValueError(f"judge() must return one judgement a case, in order (got {len(judgements)} of {len(cases)})")
    return [one.error or _checked(one.score, one.label, dict(one.evidence)) for one in judgements]


def _called(function: Callable[[Case], Any], case: Case) -> Scored | Failure:
    try:
        returned = function(case)
    except (Exception, SystemExit) as error:
        return Failure(kind="judge_failed", message=_one_line(error))
    if isinstance(returned, Failure):
        return returned
    if isinstance(returned, tuple):
        if len(returned) != 3:
            return _wrong(f"must return a score, or (score, label, evidence) (got a tuple of {len(returned)})")
        return _checked(*returned)
    return _checked(returned, None, {})


def _checked(score: Any, label: Any, evidence: Any) -> Scored | Failure:
    """A score that is one, or why it is none."""
    if not isinstance(score, Real):  # a bool is a number here: True is 1
        return _wrong(f"the score must be a number (got {_shown(score)})")
    value = float(score)
    if not math.isfinite(value) or not 0 <= value <= 1:
        return Failure(kind="out_of_range", message=f"the score must be from 0 to 1 (got {value!r})")
    if label is not None and not isinstance(label, str):
        return _wrong(f"the label must be a text or None (got {_shown(label)})")
    if not isinstance(evidence, Mapping):
        return _wrong(f"the evidence must be a mapping (got {_shown(evidence)})")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(evidence), allow_nan=False))
    except (TypeError, ValueError) as error:
        return _wrong(f"the evidence must be plain JSON ({_one_line(error)})")
    return value, label, plain


def _wrong(message: str) -> Failure:
    return Failure(kind="wrong_return", message=message)


def _shown(value: object) -> str:
    return f"{value!r:.80}" if isinstance(value, str | int | float | None) else type(value).__name__


# -------------------------------------------------------------------------------------------------------------- source


def source_sha(module: str) -> str:
    """SHA-256 of the code behind an imported module, independent of where it lies.

    That is every Python file of its top-level package, or the module itself; where it is not installed, also the modules and
    packages of the same folder that those import.
    """
    file = getattr(sys.modules[module], "__file__", None)
    if file is None:
        return fingerprint(["built in", module, sys.version])
    names = module.split(".")
    above = len(names) - (0 if Path(file).name == "__init__.py" else 1)
    folder = Path(file).parents[above]
    wanted, files = [names[0]], dict[str, str]()
    for name in wanted:
        for path in _files_of(folder, name):
            content = path.read_bytes()
            files[path.relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
            if not _is_installed(folder):
                wanted += [other for other in _imported(content) if other not in wanted]
    return fingerprint(files)


def _files_of(folder: Path, name: str) -> list[Path]:
    package = folder / name
    if package.is_dir():
        return sorted(path for path in package.rglob("*.py") if path.is_file())
    return sorted(path for path in folder.glob(f"{name}.*") if path.suffix in (".py", ".so", ".pyd"))


def _is_installed(folder: Path) -> bool:
    paths = sysconfig.get_paths()
    return str(folder) in {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}


def _imported(content: bytes) -> Iterator[str]:
    """Top-level names that a Python file imports."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
