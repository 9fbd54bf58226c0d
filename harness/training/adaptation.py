"""Which weights a training changes, and how what was trained is written to disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from peft import LoraConfig

from harness.suite.grammar import TrainSpec


def lora_config(spec: TrainSpec) -> LoraConfig:
    """PEFT's configuration of a recipe without sweeps."""
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=spec.target_modules,
        bias=spec.bias,
        task_type="CAUSAL_LM",
    )


def save_adapter(model: Any, staged: Path, *, base_name: str) -> None:
    """Write weights and a config that is the same for the same adapter: sorted, and without a path of this machine."""
    shutil.rmtree(staged, ignore_errors=True)
    model.save_pretrained(str(staged), save_embedding_layers=False)
    (staged / "README.md").unlink(missing_ok=True)
    path = staged / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(config["target_modules"], list):
        config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = base_name
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def dtypes_of(model: Any, *, trained: bool) -> str:
    """Names of the dtypes among the trained or the frozen parameters, such as `float32`."""
    names = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad == trained}
    return ", ".join(sorted(names))
