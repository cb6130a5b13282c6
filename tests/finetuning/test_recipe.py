"""What a recipe chooses for which pictures, as a table; nothing is opened and nothing trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sparsebp.finetuning import Settings
from sparsebp.finetuning.recipe import CHOSEN, Facts, few_pictures, recipe, without_slide

KB = 1024
CIFAR10 = Facts(sizes=(5000,) * 10, side=32, budget=256 * KB, odd=True)
ANTS_AND_BEES = Facts(sizes=(124, 121), side=224, budget=256 * KB, odd=True)
ALL: dict[str, Any] = {"max_update_ratio": 1.0, "saved_bits": 8, "lr": 6e-5, "bias_lr": 0.001, "classifier_lr": 0.0005}
"""A step trains as many weights as the budget holds."""
FEW: dict[str, Any] = {"max_update_ratio": 0.02, "lr": 0.0002}
"""A step trains 2 % of them."""
HEADLINE: dict[str, Any] = {"epochs": 10, "augment": "flip,slide,erase", "skip_above": 0.9, "rest": 1, **ALL}
"""Beside the size and the cache, what a long run for CIFAR-10 comes to whose rate falls."""
MEAN: dict[str, Any] = HEADLINE | {"epochs": 16, "lr": 3e-5, "schedule": "constant", "average": 10}
"""What README's command for CIFAR-10 comes to: it ends with a mean of epochs."""


def chosen(facts: Facts, **given: Any) -> dict[str, Any]:
    return {choice.name: choice.value for choice in recipe(facts, given)}


def test_ten_thousands_of_small_pictures_get_the_settings_of_the_headline() -> None:
    assert Settings(**chosen(CIFAR10)) == Settings(input_size=(129, 129), **MEAN)


@pytest.mark.parametrize(
    "given", [{"schedule": "cosine"}, {"average": 1}, {"keep": "best"}, {"patience": 2}, {"epochs": 15}], ids=str
)
def test_who_says_how_a_run_ends_gets_a_rate_that_falls(given: dict[str, Any]) -> None:
    assert Settings(**given | chosen(CIFAR10, **given)) == Settings(input_size=(129, 129), **HEADLINE | given)


@pytest.mark.parametrize(("epochs", "average"), [(16, 10), (30, 19)])
def test_a_mean_takes_five_eighths_of_the_epochs_that_are_given(epochs: int, average: int) -> None:
    assert chosen(CIFAR10, epochs=epochs).items() >= {"schedule": "constant", "average": average}.items()


SHOWN_OFTEN: dict[str, Any] = {"augment": ("flip", "slide"), "rest": 0, **ALL, "schedule": "cosine", "average": 1}
"""What differs in runs that are short."""


def test_so_do_fashion_mnist_and_parts_of_cifar_10_which_are_shown_more_often() -> None:
    fashion = replace(CIFAR10, sizes=(6000,) * 10, side=28)
    assert Settings(**chosen(fashion)) == Settings(input_size=(129, 129), **MEAN | {"epochs": 13, "average": 8})
    assert Settings(**chosen(fashion, epochs=1)) == Settings(
        input_size=(129, 129), **HEADLINE | {"epochs": 1} | SHOWN_OFTEN
    )
    for few in (30, 300):
        assert chosen(replace(CIFAR10, sizes=(few,) * 10)) == chosen(CIFAR10) | SHOWN_OFTEN | {"epochs": 10}


@pytest.mark.parametrize(
    ("pictures", "given", "rest"),
    [(9_998, {}, 0), (10_000, {}, 1), (10_000, {"epochs": 6}, 1), (50_000, {"epochs": 5}, 0), (200_000, {}, 0)],
)
def test_learned_pictures_rest_in_long_runs(pictures: int, given: dict[str, Any], rest: int) -> None:
    made = chosen(replace(CIFAR10, sizes=(pictures // 2,) * 2), **given)
    assert (made["rest"], "erase" in made["augment"]) == (rest, bool(rest))


def test_every_setting_is_chosen_once_and_explained() -> None:
    choices = recipe(CIFAR10, {})
    assert tuple(choice.name for choice in choices) == CHOSEN
    assert all(choice.why for choice in choices)


SIZES: list[tuple[str, dict[str, Any], int]] = [
    ("small pictures are enlarged, for a smaller input has few pixels left in the end", {"side": 28}, 128),
    ("photographs have the size that ImageNet's weights know", {"side": 500}, 224),
    ("between the two the pictures' own", {"side": 150}, 160),
    ("weights of TensorFlow want a pixel more", {"side": 150, "odd": True}, 161),
    ("a whole step in few bytes has no room for photographs", {"side": 500, "whole_step": True}, 128),
    ("nor have small budgets for more than a layer or two", {"side": 500, "budget": 64 * KB}, 128),
    ("weights that were fine-tuned before keep their size", {"side": 500, "known": (96, 96)}, 96),
]


@pytest.mark.parametrize(("facts", "side"), [pytest.param(*row[1:], id=row[0]) for row in SIZES])
def test_the_input_goes_by_the_pictures_and_the_budget(facts: dict[str, Any], side: int) -> None:
    assert chosen(replace(CIFAR10, **{"odd": False, **facts}))["input_size"] == (side, side)


@pytest.mark.parametrize(
    ("pictures", "epochs"), [(2, 10), (300, 10), (9998, 10), (10_000, 16), (50_000, 16), (60_000, 13), (10**6, 2)]
)
def test_a_great_many_pictures_are_shown_less_often(pictures: int, epochs: int) -> None:
    assert chosen(replace(CIFAR10, sizes=(pictures // 2,) * 2))["epochs"] == epochs


@pytest.mark.parametrize(
    ("sizes", "balance"), [((12, 121), "loss"), ((50, 101), "loss"), ((50, 100), "none"), ((0, 50), "none")]
)
def test_classes_are_balanced_where_one_is_more_than_twice_another(sizes: tuple[int, ...], balance: str) -> None:
    assert chosen(replace(CIFAR10, sizes=sizes))["balance"] == balance


def test_letters_and_digits_are_not_mirrored() -> None:
    assert chosen(replace(CIFAR10, mirrored=False))["augment"] == ("slide",)


def test_what_is_given_stays_and_is_said_to_be_given() -> None:
    given = {"epochs": 3, "input_size": 96, "augment": "none", "lr": None, "balance": "sampling"}
    for choice in recipe(ANTS_AND_BEES, given):
        assert (choice.why == "given") == (choice.name in given)
        assert choice.name not in given or choice.value == given[choice.name]


def test_a_share_of_the_weights_that_is_given_has_rates_of_its_own() -> None:
    assert Settings(**chosen(CIFAR10, max_update_ratio=0.02)) == Settings(
        input_size=(129, 129), **HEADLINE | FEW | USUAL
    )


USUAL: dict[str, Any] = {"saved_bits": 32, "bias_lr": None, "classifier_lr": None}


@pytest.mark.parametrize(
    "given",
    [
        {"sampler": "static"},
        {"resample_every": 4},
        {"momentum": 0.9},
        {"gradients": "sum"},
        {"normalise": False},
        {"train_bias": False},
        {"ratios": {"*": 0.5}},
        {"lr": 0.0002},
        {"saved_bits": 32},
    ],
    ids=str,
)
def test_what_is_measured_or_made_for_few_weights_trains_few(given: dict[str, Any]) -> None:
    made = chosen(CIFAR10, **given)
    assert (made["max_update_ratio"], made["saved_bits"]) == (0.02, 32)
    assert made["bias_lr"] is made["classifier_lr"] is None


def test_a_gpu_trains_few_for_it_keeps_no_inputs_in_8_bits() -> None:
    assert chosen(replace(CIFAR10, processor=False)).items() >= (FEW | USUAL).items()


GIVEN: list[tuple[str, dict[str, Any], str, Any]] = [
    ("plain steps have rates of their own", {"normalise": False}, "lr", None),
    ("so have steps that train many weights", {"max_update_ratio": None}, "lr", None),
    ("and layers that are chosen by hand", {"ratios": {"*": 0.5}}, "lr", None),
    ("with smoothed labels nothing is ever learned", {"label_smoothing": 0.1}, "skip_above", 1.0),
    ("so that nothing rests", {"label_smoothing": 0.1}, "rest", 0),
    ("nor where every picture has its backward pass", {"skip_above": 1.0}, "rest", 0),
    ("several processes share a run, each with other pictures in each epoch", {"gradients": "sum"}, "rest", 0),
    ("a batch holds at least what goes through at once", {"micro_batch": 64}, "batch_size", 64),
]


WHY: list[tuple[dict[str, Any], str, str]] = [
    ({"epochs": 2}, "lr", "did best of those measured"),
    ({"max_update_ratio": 0.02}, "lr", "did best of those measured, over ten epochs"),
    ({}, "max_update_ratio", "learns most; with 0.02 steps take two thirds of the time"),
    ({"sampler": "static"}, "max_update_ratio", "what goes with the other settings"),
    ({"normalise": False}, "lr", "what suits the other settings"),
    ({"keep": "best"}, "average", "a mean of epochs pays in long runs alone"),
    ({}, "average", "the mean of epochs learned more than a rate that falls"),
    ({}, "batch_size", "channels are drawn anew for each batch"),
    ({"resample_every": 4}, "batch_size", "channels are drawn anew for every 4 batches"),
    ({"sampler": "static"}, "batch_size", "what rates are measured for; the channels stay the same"),
    ({"micro_batch": 64}, "batch_size", "as many as go through at once"),
]


@pytest.mark.parametrize(("given", "name", "why"), WHY, ids=str)
def test_reasons_are_true_of_what_was_chosen(given: dict[str, Any], name: str, why: str) -> None:
    assert {choice.name: choice.why for choice in recipe(CIFAR10, given)}[name] == why


@pytest.mark.parametrize(("given", "name", "value"), [pytest.param(*row[1:], id=row[0]) for row in GIVEN])
def test_choices_go_with_what_is_given(given: dict[str, Any], name: str, value: Any) -> None:
    made = chosen(CIFAR10, **given)
    assert made[name] == value
    Settings(**{**made, **given})  # which refuses what does not go together


def test_where_nothing_can_slide_pictures_shift_or_with_a_cache_only_flip() -> None:
    slide = next(choice for choice in recipe(CIFAR10, {}) if choice.name == "augment")
    assert without_slide(slide, None).value == without_slide(slide, "auto").value == ("flip", "shift")
    assert without_slide(slide, "disk").value == ("flip",)


def test_a_class_of_few_pictures_is_named() -> None:
    assert few_pictures({"ants": 9, "bees": 10, "wasps": 0}) == ["ants", "wasps"]
