"""What holds of every augmentation behind the frozen layers; what each does: test_slide.py, test_erase.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import residual_network
from runs import assert_same_weights, finetune, weights_of
from sparsebp.finetuning.behind_prefix import before_prefix, behind_prefix, changed, forms

every = pytest.mark.parametrize("name", ["slide", "erase"])


@every
def test_a_change_is_a_function_of_seed_epoch_and_index(name: str) -> None:
    x = torch.randn(200, 17, 10, 3)
    expected = changed(x, [name], 3, 5, range(200))
    assert not torch.equal(expected, x)
    assert torch.equal(changed(x[50:60], [name], 3, 5, range(50, 60)), expected[50:60])
    assert not torch.equal(changed(x, [name], 4, 5, range(200)), expected)
    assert not torch.equal(changed(x, [name], 3, 6, range(200)), expected)


@every
def test_a_run_with_it_is_another_run(name: str) -> None:
    plain, other = (weights_of(finetune(augment=augment)) for augment in ("none", name))
    with pytest.raises(AssertionError):
        assert_same_weights(other, plain)


@every
def test_it_is_refused_where_two_activations_leave_the_frozen_layers(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"augment: {name}: more than one activation"):
        finetune(tmp_path / "run", residual_network(0, 4), budget=5250, augment=name)


def test_the_frozen_layers_see_a_picture_in_one_form_or_two_unless_it_changes_before_them() -> None:
    assert forms(()) == forms(("slide", "erase")) == 1
    assert forms(("flip",)) == forms(("slide", "erase", "flip")) == 2
    assert forms(("crop",)) is forms(("color", "slide", "flip")) is None
    assert behind_prefix(("flip", "erase", "slide")) == ("slide", "erase")
    assert before_prefix(("crop", "slide", "erase", "flip")) == ("crop", "flip")
