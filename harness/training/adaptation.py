"""Which weights a training changes, and how what was trained is written to disk.

A LoRA is written as an adapter: its tensors and a configuration. Every other method is written as a whole model folder,
with the base's own tokenizer files: a model like any other, found again by the hash of its content.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from harness.errors import UserError
from harness.models.identity import MODEL_FILES
from harness.suite.grammar import TrainSpec

MUTATING = ("olora", "pissa")
"""Ways to begin that change the frozen weights; what such a LoRA learnt is written as a plain one of twice the rank."""
INITIAL = "initial"
"""Folder, beside the checkpoints, of a LoRA as it was before its first step."""


def lora_config(spec: TrainSpec, model: Any) -> LoraConfig:
    """PEFT's configuration of a recipe without sweeps for a base model; a reward model's head is trained and kept too."""
    task = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=spec.target_modules,
        bias=spec.bias,
        use_dora=spec.dora,
        use_rslora=spec.rslora,
        init_lora_weights=True if spec.init == "default" else spec.init,
        task_type="SEQ_CLS" if spec.objective == "reward" else task,
    )


def attach_lora(model: Any, lora: LoraConfig) -> Any:
    """The model with a new LoRA on it.

    Raises:
        UserError: the target modules are not in this architecture, or hold its output layer.
    """
    head = next((name for name, module in model.named_modules() if module is model.get_output_embeddings()), None)
    try:
        adapted = get_peft_model(model, lora)
    except ValueError as error:
        raise UserError(f"'target_modules' must fit the base model: {str(error).splitlines()[0]}") from None
    if head is not None and hasattr(adapted.get_submodule(f"base_model.model.{head}"), "lora_A"):
        raise UserError(
            f"'target_modules' must leave out the output layer {head!r}: its adapter would not be trained. Take it out."
        )
    return adapted


def choose_weights(model: Any, spec: TrainSpec) -> bool:
    """Leave gradients to the weights that `method` full, head or last_layers trains, and to no other.

    Returns whether the output layer was tied to the input embeddings and got weights of its own.

    Raises:
        UserError: the model has no output layer, or fewer layers than asked for.
    """
    if spec.method == "full":
        model.requires_grad_(True)
        return False
    model.requires_grad_(False)
    untied = _untie_head(model)
    parts = [model.get_output_embeddings()]
    if spec.method == "last_layers":
        parts += _last_layers(model, spec.last_layers)
    for part in parts:
        part.requires_grad_(True)
    return untied


def _untie_head(model: Any) -> bool:
    head = model.get_output_embeddings()
    if head is None:
        raise UserError("'train.method' must fit the base model (got 'head' or 'last_layers' for one without a head).")
    if head.weight is not model.get_input_embeddings().weight:
        return False
    if model.config.is_encoder_decoder:
        raise UserError(
            "'train.method' must be lora or full for an encoder-decoder model whose output layer is tied to its embeddings "
            "(got 'head' or 'last_layers')."
        )
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
    model.all_tied_weights_keys = {}  # transformers' list of what shares memory, which saving and loading follow
    return True


def _last_layers(model: Any, count: int) -> list[torch.nn.Module]:
    """The last layers of the decoder and the norms that stand beside them."""
    decoder = model.get_decoder()
    layers = next((child for child in decoder.children() if isinstance(child, torch.nn.ModuleList)), None)
    if layers is None or len(layers) < count:
        has = "no list of layers" if layers is None else f"{len(layers)} layers"
        raise UserError(f"'train.last_layers' must be at most the layers of the base (got {count}; it has {has}).")
    norms = [child for child in decoder.children() if type(child).__name__.endswith("Norm")]
    return [*layers[-count:], *norms]


def save_initial(model: Any, partial: Path, spec: TrainSpec) -> None:
    """Keep a LoRA that begins by changing the frozen weights as it is before its first step, for `save_trained`."""
    if spec.method == "lora" and spec.init in MUTATING:
        shutil.rmtree(partial / INITIAL, ignore_errors=True)
        model.save_pretrained(str(partial / INITIAL), save_embedding_layers=False)


def save_trained(
    model: Any,
    partial: Path,
    spec: TrainSpec,
    *,
    base_name: str,
    base_folder: Path,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Write what was trained to a new folder in `partial`: the same bytes for the same tensors, no path of this machine.

    `state` holds the model's tensors where it does not hold them whole itself, divided among processes.
    """
    staged = partial / "trained"
    shutil.rmtree(staged, ignore_errors=True)
    if spec.method == "lora":
        initial = str(partial / INITIAL) if spec.init in MUTATING else None
        model.save_pretrained(
            str(staged),
            save_embedding_layers=False,
            path_initial_model_for_weight_conversion=initial,
            state_dict=state,
        )
        (staged / "README.md").unlink(missing_ok=True)
        _write_canonical(staged / "adapter_config.json", base_model_name_or_path=base_name)
        return staged
    model.save_pretrained(str(staged), state_dict=state)
    for path in sorted({path for pattern in MODEL_FILES for path in base_folder.glob(pattern)}):
        if path.name != "config.json" and not path.name.startswith("model"):
            shutil.copyfile(path, staged / path.name)
    _write_canonical(staged / "config.json")
    return staged


def _write_canonical(path: Path, **values: str) -> None:
    """Sort what PEFT writes from sets, whose order follows PYTHONHASHSEED."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps({**config, **values}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def dtypes_of(model: Any, *, trained: bool) -> str | None:
    """Names of the dtypes among the trained or the frozen parameters, such as `float32`; None where there are none."""
    names = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad == trained}
    return ", ".join(sorted(names)) or None
