"""Every suite under suites/examples runs as it stands, on the embedded base, and what it asks for comes out."""

from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import suites
from harness.cli.run import run as muster_run
from harness.store import Home, Store
from harness.suite import load_suite
from tests.harness.training.test_launcher import forked  # noqa: F401  # two processes without two starts

EXAMPLES = sorted((Path(suites.__file__).parent / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def home(tmp_path_factory, libraries):
    """One home for all: what one example has trained or answered, and another asks for too, is there."""
    return Home(tmp_path_factory.mktemp("examples") / "home")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example(file, home, request):
    """`muster run` ends with a verdict; each training took steps, each candidate answered all, each judge judged all."""
    if file.stem == "qlora":
        pytest.importorskip("bitsandbytes")
    if file.stem == "launcher":
        request.getfixturevalue("forked")
    assert file.read_text(encoding="utf-8").startswith("# muster run")
    suite = load_suite(str(file)).suite
    assert suite.suite == file.stem
    app = typer.Typer()
    app.command()(muster_run)
    done = CliRunner().invoke(app, [str(file), "--home", str(home.path)], env={"CI": "1"})
    assert done.exit_code in (0, 1, 3), done.output + repr(done.exception)
    with Store.open(home) as store:
        run = next(run for run in store.runs() if run.suite == file.stem)
        trainings = {training.candidate: training for training in store.trainings(run.id)}
        judgements = store.judgements(run.id)
        samples = len(store.samples(run.id))
    assert run.status == "complete"
    specs = {name: getattr(spec, "train", None) for name, spec in (*suite.candidates.items(), *suite.judges.items())}
    assert trainings.keys() == {name for name, spec in specs.items() if spec is not None}
    for name, training in trainings.items():
        assert training.log[-1]["step"] == training.steps > 0
        if not specs[name].rewards:  # a policy's loss says nothing: its answers change with it
            assert training.log[-1]["loss"] < training.log[0]["loss"] or len(training.log) == 1
        assert 0 < training.trainable_parameters <= training.total_parameters
    assert len(judgements) == samples * len(run.candidates) * len(run.metrics)
    assert all(judgement.error is None for judgement in judgements)


def test_the_tiny_t5_is_what_its_script_makes(tmp_path):
    """Words and weights of the committed folder are those that `python -m suites.examples.make_t5` writes; of the weights the
    last bits are the processor's own, since torch draws normal numbers by other instructions where it has them."""
    from safetensors.torch import load_file

    from suites.examples import make_t5

    make_t5.make(tmp_path)
    committed = make_t5.HERE / "tiny_t5"
    assert (tmp_path / "tokenizer.json").read_bytes() == (committed / "tokenizer.json").read_bytes()
    made, kept = (load_file(folder / "model.safetensors") for folder in (tmp_path, committed))
    assert made.keys() == kept.keys()
    for name, tensor in kept.items():
        assert made[name].dtype == tensor.dtype
        assert torch.allclose(made[name], tensor, rtol=1e-4, atol=1e-6), name
