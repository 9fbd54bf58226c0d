"""What can go wrong, as a tree, with the exit status of each kind.

    MusterError                 70  a defect of muster itself
    ├── UserError                2  the suite, the input or the command line is wrong
    │   ├── SuiteError           2  every mistake of a suite file at once, each with file, line and column
    │   ├── DataError            2  a data file cannot be read as the suite says
    │   ├── ContaminationError   2  training rows overlap evaluation rows
    │   └── StoreError           2  the result store is corrupt, newer than this program, or not a store
    ├── IncompleteError          4  the run could not be finished; what was done is kept
    │   ├── TrainingError        4  a training stopped (NaN loss, no memory, no disk)
    │   ├── ModelError           4  a model cannot be loaded or reached
    │   │   └── EndpointError    4  a request to an endpoint got no answer
    │   └── StoreLockedError     4  another process holds the store
    └── NothingEvaluatedError    5  no sample was left to evaluate

Each class knows its exit status and nothing else; the text of an error is one line that names the place, the value and the
way out. A failure of one sample is no exception: it is a `records.Failure` on the answer or the judgement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

StoreFault = Literal["missing", "damaged", "log_damaged", "newer", "foreign", "open"]
"""`log_damaged`: the write-ahead log alone; `foreign`: nothing of muster's, not ours to replace; `open`: in this process."""

__all__ = [
    "ContaminationError",
    "DataError",
    "EndpointError",
    "IncompleteError",
    "ModelError",
    "MusterError",
    "NothingEvaluatedError",
    "Problem",
    "StoreError",
    "StoreLockedError",
    "SuiteError",
    "TrainingError",
    "UserError",
]


class MusterError(Exception):
    """The root of the tree: caught once, by the command line, which prints it and exits with `exit_status`."""

    exit_status: ClassVar[int] = 70


class UserError(MusterError):
    """Raised when what the user gave cannot be used as it is."""

    exit_status = 2


class DataError(UserError):
    """Raised when a data file is missing, unreadable, or does not hold what the suite says."""


class ContaminationError(UserError):
    """Raised when rows of a training split stand in an evaluation split too."""


class StoreError(UserError):
    """Raised when the result store cannot be read: damaged, not a store, or written by a newer version.

    `fault` says which, for those who mend it.
    """

    def __init__(self, message: str, *, fault: StoreFault = "damaged") -> None:
        self.fault = fault
        super().__init__(message)


class IncompleteError(MusterError):
    """Raised when the run stops before its end; everything finished so far is kept."""

    exit_status = 4


class TrainingError(IncompleteError):
    """Raised when a training stops before its last step."""


class ModelError(IncompleteError):
    """Raised when a model, an adapter or an endpoint cannot be loaded or reached."""


class EndpointError(ModelError):
    """Raised when a request to an endpoint got no answer; `kind` names the failure, as `records.Failure.kind` does."""

    def __init__(self, message: str, *, kind: str) -> None:
        self.kind = kind
        super().__init__(message)


class StoreLockedError(IncompleteError):
    """Raised when another process holds the result store and does not let go within the wait."""


class NothingEvaluatedError(MusterError):
    """Raised when nothing is left to evaluate."""

    exit_status = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a file a person wrote, at its place. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        hint = f" (did you mean {self.suggestion!r}?)" if self.suggestion else ""
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.message}{hint}"


class SuiteError(UserError):
    """Raised with every mistake found in a suite file, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
