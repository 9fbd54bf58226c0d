"""Changes of weights in 8 bits: within half a scale of the truth, and nothing else in the file."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.models.deltas import pack_deltas, unpack_deltas


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e3))
def test_unpacked_is_within_half_a_scale(seed: int, size: float) -> None:
    """No entry is off by more than half of its row's largest change / 127 (and float32 rounding of base plus change)."""
    generator = torch.Generator().manual_seed(seed)
    base = {"w": torch.randn(5, 7, generator=generator), "same": torch.randn(3, 3, generator=generator)}
    trained = {"w": base["w"] + size * torch.randn(5, 7, generator=generator), "same": base["same"].clone()}
    packed = pack_deltas(base, trained)
    assert set(packed) == {"w.codes", "w.scale"}
    assert packed["w.codes"].dtype == torch.int8
    change = (trained["w"] - base["w"]).abs()
    bound = change.amax(dim=1, keepdim=True) / 254 * 1.001 + 1e-6 * (1 + size)
    assert ((unpack_deltas(base, packed)["w"] - trained["w"]).abs() <= bound).all()


def test_vectors_are_kept_in_half_precision_and_zero_rows_stay_zero() -> None:
    """A bias moves by a float16; a row that did not change comes back exactly."""
    base = {"b": torch.zeros(3), "w": torch.ones(2, 2)}
    trained = {"b": torch.tensor([0.5, -0.25, 0.0]), "w": torch.tensor([[1.0, 1.0], [1.0, 3.0]])}
    restored = unpack_deltas(base, pack_deltas(base, trained))
    assert torch.equal(restored["b"], trained["b"])
    assert torch.equal(restored["w"], trained["w"])


def test_foreign_tensors_and_unknown_names_are_refused() -> None:
    """A damaged file is an error, not another model."""
    with pytest.raises(ValueError, match="no change of a weight"):
        unpack_deltas({"w": torch.ones(1, 1)}, {"w": torch.ones(1, 1)})
    with pytest.raises(KeyError):
        unpack_deltas({}, {"b.delta": torch.ones(1)})
    with pytest.raises(KeyError):
        unpack_deltas({"w": torch.ones(1, 1)}, {"w.codes": torch.ones(1, 1, dtype=torch.int8)})
