"""One training step on tensors without content: what memory autograd holds and how much arithmetic it takes.

The model is built on the meta device and its weights become torch's fake tensors, which have a shape, a dtype and a
device but no data. Forward and backward then run as they would, through the same kernels' rules for what is kept: live
storage is counted at each operation, and matrix products by torch's FlopCounterMode (attention's own, a few per cent, it
does not know on the CPU). The peak so found is within 5 % of the bytes that a real step of the same model holds. Both
grow linearly with the number of layers, so a deep model is simulated at two small depths. Knows nothing of recipes: it
is given a way to build the model.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedConfig

from harness.training.attention import PACKED

DEPTHS = (
    "num_hidden_layers",
    "num_layers",
    "num_decoder_layers",
    "n_layer",
    "n_layers",
    "encoder_layers",
    "decoder_layers",
)
"""What configurations call the number of layers."""
SHALLOW = 3
"""Models of up to so many layers are simulated whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedStep:
    """What one forward and backward pass take."""

    activations: int
    """Most bytes held at once beside weights and gradients."""
    flops: int
    """Floating-point operations of matrix products."""
    forward: int
    """Those of the forward pass among them."""


def simulate_step(
    build: Callable[[PreTrainedConfig], Any],
    config: PreTrainedConfig,
    *,
    rows: int,
    length: int,
    trained: int | None,
    dtype: torch.dtype,
    packed: bool = False,
    headless: bool = False,
    trained_layers: int = 0,
    checkpointing: bool = False,
) -> SimulatedStep:
    """What a step over `rows` rows of `length` tokens takes.

    Args:
        build: makes the model from a configuration on the meta device, with `requires_grad` where it is trained.
        config: of the base model.
        rows: rows of the batch.
        length: tokens of each.
        trained: tokens of a row whose logits are taken; None for all of them, as padded batches take.
        dtype: of the frozen weights and of the computation; trained weights are float32, half precision is autocast.
        packed: whether rows lie end to end (`attention`) instead of below each other.
        headless: whether the step ends at the hidden states, as where logits are made tile by tile or not at all.
        trained_layers: how many of the last layers are trained apart from the others; a simulation is deeper than that.
        checkpointing: whether activations are computed again in the backward pass instead of held.
    """

    def at(shape: PreTrainedConfig) -> SimulatedStep:
        with torch.device("meta"):
            model = build(shape)
        return _run(model, rows, length, trained, dtype, packed, headless, checkpointing)

    depth = _depth(config)
    low = trained_layers + 1
    if depth <= max(SHALLOW, low + 1) or not _is_uniform(config):
        return at(config)
    less, more = at(_at_depth(config, low)), at(_at_depth(config, low + 1))
    layers = depth - low
    return SimulatedStep(
        activations=less.activations + layers * (more.activations - less.activations),
        flops=less.flops + layers * (more.flops - less.flops),
        forward=less.forward + layers * (more.forward - less.forward),
    )


def _run(
    model: Any,
    rows: int,
    length: int,
    trained: int | None,
    dtype: torch.dtype,
    packed: bool,
    headless: bool,
    checkpointing: bool,
) -> SimulatedStep:
    """What a forward and a backward pass of a model on the meta device take."""
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    with FakeTensorMode():
        _give_shapes(model, dtype)
        for parameter in model.parameters():
            if parameter.requires_grad:  # gradients are counted apart: each is dropped when it is complete
                parameter.register_post_accumulate_grad_hook(_drop_gradient)
        ids = torch.zeros((rows, length), dtype=torch.long)
        options: dict[str, Any] = {} if trained is None else {"logits_to_keep": max(trained, 1)}
        if packed:
            getattr(model, "get_base_model", lambda: model)().set_attn_implementation(PACKED)
            ids = ids.reshape(1, -1)
            options = {name: rows * value for name, value in options.items()}
            options["position_ids"] = torch.arange(length).repeat(rows)[None]
            options["cu_seq_lens_q"] = _Bounds(range(0, rows * length + 1, length))
        half = torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32)
        with FlopCounterMode(display=False) as counter, _LiveBytes() as memory, half:
            if headless:
                whole = getattr(model, "get_base_model", lambda: model)()
                hidden = getattr(whole, whole.base_model_prefix)(input_ids=ids, use_cache=False).last_hidden_state
                forward = counter.get_total_flops()
                hidden.float().mean().backward()
                return SimulatedStep(
                    activations=memory.peak, flops=int(counter.get_total_flops()), forward=int(forward)
                )
            if model.config.is_encoder_decoder:
                logits = model(input_ids=ids, labels=ids, use_cache=False).logits
            else:
                logits = model(input_ids=ids, use_cache=False, **options).logits
            logits = logits.flatten(0, 1).float()
            loss = functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
            del logits
            forward = counter.get_total_flops()
            loss.backward()  # type: ignore[no-untyped-call]
        return SimulatedStep(activations=memory.peak, flops=int(counter.get_total_flops()), forward=int(forward))


class _Bounds(list[int]):
    """Where rows begin, for `packed_attention`; a fake tensor could not say."""

    def tolist(self) -> list[int]:
        return self


def _give_shapes(model: Any, dtype: torch.dtype) -> None:
    """Replaces meta tensors by fake ones of the CPU, shared ones by shared ones; trained weights are float32."""
    made: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    fits = torch.float32 if tensor.requires_grad else dtype
                    empty = torch.empty(tensor.shape, dtype=fits if tensor.is_floating_point() else tensor.dtype)
                    is_weight = isinstance(tensor, torch.nn.Parameter)
                    made[id(tensor)] = torch.nn.Parameter(empty, tensor.requires_grad) if is_weight else empty
                store[name] = made[id(tensor)]


def _drop_gradient(parameter: torch.Tensor) -> None:
    parameter.grad = None


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storage that operations made and that something still holds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._live: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._live:
                    self._live[storage._cdata] = storage.nbytes()
                    self._now += storage.nbytes()
                    self.peak = max(self.peak, self._now)
                    weakref.finalize(storage, self._free, storage._cdata)
        return made

    def _free(self, key: int) -> None:
        self._now -= self._live.pop(key, 0)


def _depth(config: PreTrainedConfig) -> int:
    """Layers of the model; of an encoder and a decoder, the deeper one's."""
    text = config.get_text_config()
    return max((int(getattr(text, name, None) or 0) for name in DEPTHS), default=0)


def _is_uniform(config: PreTrainedConfig) -> bool:
    """Whether all layers are alike, so that two depths tell about any."""
    layers = getattr(config.get_text_config(), "layer_types", None) or ["full_attention"]
    return len(set(layers)) == 1


def _at_depth(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    """The same model with fewer layers; where encoder and decoder differ, each with at most so many."""
    shallow = deepcopy(config)
    text = shallow.get_text_config()
    for name in DEPTHS:
        deep = getattr(text, name, None)
        if isinstance(deep, int) and not isinstance(deep, bool):
            setattr(text, name, min(deep, layers))
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    return shallow
