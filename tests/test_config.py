"""The reader of options: types, limits, keys, and tables to dataclasses and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from saltzoo._config import (
    Count,
    Fraction,
    Positive,
    Range,
    check_finite_table,
    check_limits,
    check_type,
    matches,
    read_options,
    to_table,
)

YES = [
    (3, int),
    (3, float),
    (0.5, float),
    (True, bool),
    ("no", str),
    (None, int | None),
    ("a", Literal["a", "b"]),
    ([1, 2], Sequence[int]),
    ((), Sequence[int]),
    ([[0.1, 1]], float | Sequence[Sequence[float]]),
    ([0.9, 1], tuple[float, float]),
    (["a", "b", "c"], tuple[str, ...]),
    ({"a": 1}, Mapping[str, float]),
    ({"a": [None]}, Mapping[str, Any]),
    (3, Count),
    ("any value matches a class that is not plain", Path),
]
NO = [
    (0.5, int),
    (True, int),
    (False, float),
    (1, bool),
    ("no", bool),
    (None, int),
    ("c", Literal["a", "b"]),
    ("ab", Sequence[str]),
    ([1, "2"], Sequence[int]),
    ([True], Sequence[int]),
    ([0.9], tuple[float, float]),
    ([0.9, 1, 1], tuple[float, float]),
    ("abc", tuple[str, ...]),
    ([1], tuple[str, ...]),
    ({"a": "1"}, Mapping[str, float]),
    ({1: 1.0}, Mapping[str, float]),
    ([("a", 1)], Mapping[str, int]),
    (True, int | None),
    ("3", Count),
]


@pytest.mark.parametrize(("value", "hint"), YES)
def test_value_matches(value, hint):
    assert matches(value, hint)


@pytest.mark.parametrize(("value", "hint"), NO)
def test_value_does_not_match(value, hint):
    assert not matches(value, hint)


@pytest.mark.parametrize(
    ("hint", "value", "error", "message"),
    [
        (int | None, "3", TypeError, "^epochs must be int | None, got '3'$"),
        (Sequence[float], 3, TypeError, r"^epochs must be Sequence\[float\], got 3$"),
        (Fraction, "3", TypeError, r"^epochs must be float \(at least 0 and below 1\), got '3'$"),
        (Literal["a", "b"], "c", ValueError, "^epochs must be one of 'a', 'b', got 'c'$"),
    ],
)
def test_type_errors_name_the_type(hint, value, error, message):
    with pytest.raises(error, match=message):
        check_type(hint, value, "epochs")


@dataclass(frozen=True)
class Part:
    kind: Literal["ema", "swa"] = "ema"
    decay: Fraction | None = 0.9
    betas: tuple[Fraction, Positive] = (0.9, 2.0)
    sizes: tuple[Count, ...] = (1,)
    scales: Mapping[str, Positive] = field(default_factory=dict)
    weight: Positive | Sequence[Sequence[float]] = 1.0

    def __post_init__(self):
        check_limits(self, prefix="part.")


@dataclass(frozen=True)
class Whole:
    epochs: int
    part: Part = field(default_factory=Part)
    parts: tuple[Part, ...] = ()
    other: Part | None = None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "none"}, "^unknown part.kind 'none': choose one of 'ema', 'swa'$"),
        ({"decay": 1.0}, "^part.decay must be at least 0 and below 1, got 1.0$"),
        ({"decay": math.nan}, "^part.decay must be at least 0 and below 1, got nan$"),
        ({"betas": (0.9, 0)}, "^part.betas must be above 0, got 0$"),
        ({"betas": (1, 1)}, "^part.betas must be at least 0 and below 1, got 1$"),
        ({"sizes": (3, 0)}, "^part.sizes must be at least 1, got 0$"),
        ({"scales": {"head": -1}}, "^part.scales.head must be above 0, got -1$"),
        ({"weight": 0}, "^part.weight must be above 0, got 0$"),
    ],
)
def test_limits_hold_for_constructor_calls(changes, message):
    with pytest.raises(ValueError, match=message):
        Part(**changes)


def test_values_within_limits_pass():
    Part(kind="swa", decay=None, betas=(0, 2), sizes=(), scales={"head": 1.5}, weight=[[0, 1]])


def test_an_end_is_open_or_closed():
    inside = [value for value in (-1, 0, 0.5, 1, 2) if value in Range(0, 1, open_low=True)]
    assert inside == [0.5, 1]
    assert 1 not in Range(high=1, open_high=True)


def test_other_metadata_of_an_annotation_is_ignored():
    @dataclass
    class Noted:
        size: Annotated[int, "pixels", Range(1)] = 1

    check_limits(Noted())
    with pytest.raises(ValueError, match=r"^size must be at least 1, got 0$"):
        check_limits(Noted(0))


def test_a_table_becomes_dataclasses_and_a_table_again():
    table = {
        "epochs": 3,
        "part": {"kind": "swa", "decay": 0.5, "weight": [[0.1, 1], [0.5, 2]]},
        "parts": [{"sizes": [2, 3]}, {"scales": {"head": 0.1}}],
        "other": None,
    }
    whole = read_options(Whole, table, "the recipe")
    assert whole == Whole(
        3, Part("swa", 0.5, weight=((0.1, 1), (0.5, 2))), (Part(sizes=(2, 3)), Part(scales={"head": 0.1})), None
    )
    assert read_options(Whole, to_table(whole), "the recipe") == whole
    assert to_table(whole)["parts"][0]["sizes"] == [2, 3]
    assert read_options(Whole, {"epochs": 1, "other": {}}, "the recipe").other == Part()


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ([], TypeError, r"^the recipe must be a table of Whole, got \[\]$"),
        ({}, ValueError, "^the recipe needs epochs$"),
        ({"epoch": 3}, ValueError, "^the recipe has no key 'epoch'. Did you mean 'epochs'\\?$"),
        ({"epochs": 3, "zzz": 1}, ValueError, "no key 'zzz'. It has epochs, part, parts, other.$"),
        ({"epochs": "3"}, TypeError, "^epochs of the recipe must be int, got '3'$"),
        ({"epochs": 3, "part": None}, TypeError, "^part of the recipe must be a table of Part, got None$"),
        ({"epochs": 3, "part": {"decay": "x"}}, TypeError, "^decay of part of the recipe must be"),
        ({"epochs": 3, "part": {"kind": "x"}}, ValueError, "^kind of part of the recipe must be one of 'ema', 'swa'"),
        ({"epochs": 3, "parts": {}}, TypeError, r"^parts of the recipe must be tuple\[.*Part, ...\], got {}$"),
        ({"epochs": 3, "parts": [1]}, TypeError, "^parts of the recipe must be a table of Part, got 1$"),
        ({"epochs": 3, "other": 1}, TypeError, "^other of the recipe must be a table of Part, got 1$"),
    ],
)
def test_errors_of_a_table_name_the_place(table, error, message):
    with pytest.raises(error, match=message):
        read_options(Whole, table, "the recipe")


def test_a_table_with_nan_is_refused_with_its_place():
    check_finite_table({"a": [1.0, "x", None, {"b": 2}]})
    with pytest.raises(ValueError, match=r"^a\.1\.b must be a finite number, as checkpoints hold no others, got inf$"):
        check_finite_table({"a": [1.0, {"b": math.inf}]})
