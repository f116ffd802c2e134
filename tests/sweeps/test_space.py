"""Spaces: what a declaration means, what conditions allow, and what is refused with a remedy."""

import random
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from subtext.errors import ConfigError
from subtext.sweeps.space import Entry, Space, point_key, suggest

STRATEGIES = {
    "fusion": {"choices": ["late", "lowrank", "posterior"]},
    "late.combine": {"keys": ["fusion.combine"], "choices": ["mean", "stacking"], "when": {"fusion": "late"}},
    "late.outcomes": {"keys": ["fusion.outcomes"], "choices": [2, 3], "when": {"late.combine": "stacking"}},
    "lowrank.rank": {"keys": ["fusion.rank"], "low": 1, "high": 3, "when": {"fusion": "lowrank"}},
    "dropout": {"keys": ["a.dropout", "b.dropout"], "low": 0.0, "high": 0.5, "step": 0.25},
}


def parse(declared: dict[str, Any], **more: Any) -> Space:
    return Space.parse(declared, where="sweep/mine.yaml", **more)


def test_ranges_and_choices_become_the_distributions_that_they_say() -> None:
    space = parse(
        {
            "lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "rank": {"low": 1, "high": 16, "log": True},
            "layers": {"low": 1, "high": 7, "step": 3},
            "decay": {"low": 0, "high": 1, "type": "float"},
            "dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
            "combine": {"choices": ["mean", None, True, 2]},
        }
    )
    assert [entry.distribution for entry in space.entries] == [
        FloatDistribution(1e-4, 1e-2, log=True),
        IntDistribution(1, 16, log=True),
        IntDistribution(1, 7, step=3),
        FloatDistribution(0, 1),
        FloatDistribution(0, 0.5, step=0.1),
        CategoricalDistribution(["mean", None, True, 2]),
    ]
    assert all(entry.keys == (entry.name,) for entry in space.entries)


def test_a_strategys_settings_are_searched_only_with_it() -> None:
    points = parse(STRATEGIES).points()
    assert points is not None
    without_dropout = {tuple((k, v) for k, v in point.items() if k != "dropout") for point in points}
    assert without_dropout == {
        (("fusion", "late"), ("late.combine", "mean")),
        (("fusion", "late"), ("late.combine", "stacking"), ("late.outcomes", 2)),
        (("fusion", "late"), ("late.combine", "stacking"), ("late.outcomes", 3)),
        *((("fusion", "lowrank"), ("lowrank.rank", rank)) for rank in (1, 2, 3)),
        (("fusion", "posterior"),),
    }
    assert len(points) == 3 * len(without_dropout)


def test_one_value_is_set_at_several_keys() -> None:
    space = parse(STRATEGIES)
    point = {"fusion": "lowrank", "dropout": 3 * 0.1, "lowrank.rank": 2}
    assert space.settings(point) == {"fusion": "lowrank", "fusion.rank": 2, "a.dropout": 0.3, "b.dropout": 0.3}


def test_an_entry_declared_before_what_its_condition_names_comes_after_it() -> None:
    reversed_ = dict(reversed(list(STRATEGIES.items())))
    one, other = parse(STRATEGIES).points(), parse(reversed_).points()
    assert {point_key(p) for p in one or []} == {point_key(p) for p in other or []}


@pytest.mark.parametrize(
    ("fixed", "values", "left"),
    [
        (["fusion"], {"fusion": "late"}, {"late.combine", "late.outcomes", "dropout"}),
        (["fusion"], {"fusion": "posterior"}, {"dropout"}),
        (["fusion", "fusion.combine"], {"fusion": "late", "fusion.combine": "mean"}, {"dropout"}),
        (
            ["fusion", "fusion.combine"],
            {"fusion": "late", "fusion.combine": "stacking"},
            {"late.outcomes", "dropout"},
        ),
        (["b.dropout"], {}, {"fusion", "late.combine", "late.outcomes", "lowrank.rank"}),
    ],
)
def test_a_fixed_key_is_a_constant_that_conditions_see(
    fixed: list[str], values: dict[str, Any], left: set[str]
) -> None:
    space = parse(STRATEGIES, fixed=fixed, value_of=values.get)
    assert {entry.name for entry in space.entries} == left


def test_a_condition_may_name_a_key_that_is_not_searched() -> None:
    declared = {"rank": {"low": 1, "high": 3, "when": {"task.rows": "clips"}}, "lr": {"low": 0.1, "high": 0.2}}
    assert len(parse(declared, value_of={"task.rows": "clips"}.get).entries) == 2
    assert len(parse(declared, value_of={"task.rows": "streams"}.get).entries) == 1


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, "declares no space"),
        ({"a": 3}, "space.a is 3; write {choices"),
        ({"a": {"low": 1}}, "space.a.high is missing"),
        ({"a": {"low": 1, "high": "x"}}, "space.a.high is 'x'; write a number"),
        ({"a": {"low": 2, "high": 1}}, "low 2 is above high 1"),
        ({"a": {"low": 0, "high": 1.0, "log": True}}, "begins above 0"),
        ({"a": {"low": 1.0, "high": 2.0, "log": True, "step": 0.5}}, "both log and step"),
        ({"a": {"low": 0, "high": 10, "step": 3}}, "no whole number of steps"),
        ({"a": {"low": 0.0, "high": 1.0, "type": "int"}}, "as whole numbers"),
        ({"a": {"low": 0.0, "high": 1.0, "lgo": True}}, "has lgo; it may have"),
        ({"a": {"choices": []}}, "write a list of values"),
        ({"a": {"choices": [[1], 2]}}, "a choice is a word, a number"),
        ({"a": {"choices": [1, 1.0]}}, "holds 1 twice"),
        ({"a": {"choices": [1], "low": 3}}, "needs either choices, or low and high"),
        ({"a": {}}, "needs either choices, or low and high"),
        ({"a": {"choices": [1], "keys": "b"}}, "write a list of keys"),
        ({"a": {"choices": [1], "when": "b"}}, "write {KEY: VALUE}"),
        ({"a": {"choices": [1, 2]}, "b": {"choices": [1], "when": {"a": 3}}}, "which a never is"),
        ({"a": {"choices": [1], "when": {"a": 1}}}, "has itself in its condition"),
        (
            {"a": {"choices": [1], "when": {"b": 1}}, "b": {"choices": [1], "when": {"a": 1}}},
            "go round in a circle",
        ),
        ({"a": {"choices": [1]}, "b": {"keys": ["a"], "choices": [2]}}, "both set a"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(declared)
    assert said in str(raised.value)


def test_entries_that_exclude_each_other_may_set_the_same_key() -> None:
    space = parse(
        {
            "fusion": {"choices": ["a", "b"]},
            "a.width": {"keys": ["fusion.width"], "choices": [1, 2], "when": {"fusion": "a"}},
            "b.width": {"keys": ["fusion.width"], "choices": [3], "when": {"fusion": "b"}},
        }
    )
    assert [space.settings(p) for p in space.points() or []] == [
        {"fusion": "a", "fusion.width": 1},
        {"fusion": "a", "fusion.width": 2},
        {"fusion": "b", "fusion.width": 3},
    ]


def test_endless_spaces_have_no_points() -> None:
    space = parse({"lr": {"low": 0.1, "high": 0.2}, "rank": {"low": 1, "high": 3}})
    assert space.points() is None
    assert space.endless() == ["lr"]


choice_lists = st.lists(st.sampled_from(["x", "y", 0, 1, 2.5, None]), min_size=1, max_size=4, unique=True)


@given(st.lists(choice_lists, min_size=1, max_size=4), st.randoms())
def test_what_a_trial_draws_is_a_point_of_the_space(lists: list[list[Any]], chance: random.Random) -> None:
    entries = []
    for number, choices in enumerate(lists):
        when = {f"e{number - 1}": (chance.choice(lists[number - 1]),)} if number and chance.random() < 0.7 else {}
        entries.append(Entry(f"e{number}", (f"e{number}",), CategoricalDistribution(choices), when))
    space = Space(entries)
    points = space.points() or []
    keys = [point_key(point) for point in points]
    assert len(set(keys)) == len(keys)
    drawn = space.walk(lambda entry: chance.choice(entry.values() or [None]))
    assert point_key(drawn) in keys


def test_a_float_that_a_database_rounded_is_the_same_point() -> None:
    assert point_key({"lr": 0.1 + 0.2}) == point_key({"lr": 0.3})
    assert point_key({"b": True}) != point_key({"b": 1})
    assert point_key({"lr": 0.1}) != point_key({"lr": 0.1000001})


def test_a_trial_suggests_within_the_distribution() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = parse(STRATEGIES)
    for _ in range(20):
        trial = study.ask()
        point = space.walk(lambda entry, trial=trial: suggest(trial, entry))
        assert point == trial.params
        own = {entry.name: entry.distribution for entry in space.entries if entry.name in point}
        assert trial.distributions == own
