"""The command line: one module a verb, each importing what it needs only when it is called.

`main` is the one place where an error becomes a line and an exit status.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

EPILOG = (
    "Exit status: 0 pass · 1 the gate failed · 2 the suite, the input or the command line is wrong · 3 inconclusive · "
    "4 the run is incomplete · 5 nothing was evaluated · 70 internal error · 130 interrupted"
)

CONTINUING = (["run"], ["train"])
"""Verbs that take up their work where they were stopped."""
INTERRUPTED = 130

VERBS = (
    "run", "check", "train", "score", "calibrate", "gate", "baseline", "compare", "report", "runs", "show", "export",
    "export-preferences", "export-model", "train-judge", "judges", "init", "schema", "env", "review", "store",
)  # fmt: skip
"""In the order a user meets them."""


def build_app() -> typer.Typer:
    """The command line with all its verbs, in the order a user meets them."""
    from harness.cli import (
        baseline,
        calibrate,
        check,
        compare,
        env,
        export,
        export_model,
        export_preferences,
        gate,
        init,
        judges,
        report,
        review,
        run,
        runs,
        schema,
        score,
        show,
        store,
        train,
        train_judge,
    )
    from harness.cli.groups import DefaultGroup, InOrder, SurfaceCommand

    app = typer.Typer(
        name="muster",
        cls=type("Verbs", (InOrder,), {"order": VERBS}),
        help="Train candidates, let them answer, judge the answers, and decide whether the new model may be deployed.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.command(cls=SurfaceCommand)(run.run)
    app.command()(check.check)
    app.command()(train.train)
    app.command()(score.score)
    app.command()(calibrate.calibrate)
    gates = typer.Typer(cls=DefaultGroup)
    gates.command(cls=SurfaceCommand)(gate.gate)
    gates.command()(gate.aa)
    gates.command()(gate.selftest)
    app.add_typer(gates, name="gate")
    app.command()(compare.compare)
    reports = typer.Typer(cls=DefaultGroup)
    reports.command()(report.report)
    reports.command()(report.verify)
    app.add_typer(reports, name="report")
    app.command()(runs.runs)
    app.command()(show.show)
    app.command()(export.export)
    app.command("export-preferences")(export_preferences.export_preferences)
    app.command("export-model")(export_model.export_model)
    app.command("train-judge")(train_judge.train_judge)
    app.command()(judges.judges)
    app.command()(init.init)
    app.command()(schema.schema)
    app.command()(env.env)
    baselines = typer.Typer(help="What later runs are compared with, blessed and kept in git.", no_args_is_help=True)
    baselines.command()(baseline.bless)
    baselines.command()(baseline.show)
    baselines.command()(baseline.log)
    baselines.command()(baseline.verify)
    app.add_typer(baselines, name="baseline")
    reviews = typer.Typer(help="Blind ratings by people, as judgements of a run.", no_args_is_help=True)
    reviews.command()(review.export)
    reviews.command("import")(review.import_)
    reviews.command()(review.agreement)
    reviews.command()(review.labels)
    app.add_typer(reviews, name="review")
    stores = typer.Typer(help="Look after the result store.", no_args_is_help=True)
    stores.command()(store.doctor)
    stores.command()(store.rebuild)
    app.add_typer(stores, name="store")
    return app


def main() -> None:
    """Runs the command line and exits with the status of the contract."""
    from harness.cli.workflow import guard_streams

    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", "120")  # a log has no width of its own; 80 would break every table
    guard_streams()
    status = _run(build_app())
    if status == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # at once: threads that wait for an endpoint would hold the process until their time-outs
    sys.exit(status)


def _run(app: typer.Typer) -> int:
    import warnings

    from typer.exceptions import Abort, TyperException

    from harness.errors import MusterError

    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # a library's deprecations are for its developers; -W shows them
    try:
        result = app(standalone_mode=False)
        if result != INTERRUPTED:  # which is what Typer makes of Ctrl-C
            return result if isinstance(result, int) else 0
    except TyperException as error:
        usage: Any = error
        usage.show()
        return 2
    except MusterError as error:
        for line in str(error).splitlines():
            print(f"muster: {line}" if not _has_place(line) else line, file=sys.stderr)
        return error.exit_status
    except (KeyboardInterrupt, Abort):
        pass
    except Exception:
        import traceback

        traceback.print_exc()
        print("muster: this is a defect of muster; please report it with the lines above.", file=sys.stderr)
        return 70
    kept = ". What was finished is kept; the same command continues from there." if sys.argv[1:2] in CONTINUING else ""
    print(f"muster: interrupted{kept}", file=sys.stderr)
    return INTERRUPTED


def _has_place(line: str) -> bool:
    """Whether the line starts with `file:line:column:` already, so that editors can jump to it."""
    parts = line.split(":", 3)
    return len(parts) == 4 and parts[1].isdigit() and parts[2].isdigit()
