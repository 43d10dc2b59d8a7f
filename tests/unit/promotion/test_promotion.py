"""Promotion of a candidate."""

from pathlib import Path
from typing import Any

import pytest
from registry_models import QUICK, rows

from deepicd.errors import DataError, PromotionError
from deepicd.promotion.promote import promote_best
from deepicd.promotion.registry import Registry
from deepicd.records import (
    Decision,
)


def test_a_rejected_candidate_changes_nothing_and_its_reasons_are_kept(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={})
    examinations = {"v0003": rows(("I2510", "J189")), "v0002": rows(("I2510", "I2510"))}
    verdict = promote_best(registry, ["v0003"], examinations=examinations, config=QUICK, seed=0)
    decision = verdict.decision
    assert verdict.version == "v0003"
    assert not decision.accepted
    assert registry.aliases() == {"champion": "v0002"}
    assert registry.decision("v0003") == Decision(False, list(decision.reasons), decision.numbers)
    assert registry.events()[-1].kind == "gated"


def test_each_use_of_a_promotion_split_is_counted_and_widens_the_next_interval(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={})
    examinations = {"v0003": rows(("I2510", "J189")), "v0002": rows(("I2510", "I2510"))}

    def judge(shown: dict[str, Any]) -> Any:
        verdict = promote_best(registry, ["v0003"], examinations=shown, config=QUICK, seed=0)
        return verdict.decision.numbers

    numbers = [judge(examinations) for _ in range(3)]
    assert [one["num_uses"] for one in numbers] == [1, 2, 3]
    assert [one["confidence"] for one in numbers] == pytest.approx(
        [1 - 0.05 / 2, 1 - 0.05 / 6, 1 - 0.05 / 12]
    )
    others = {"v0003": rows(("J189", "J180")), "v0002": rows(("J189", "J189"))}
    assert judge(others)["num_uses"] == 1  # other notes are another split


def test_an_accepted_candidate_becomes_champion_and_its_decision_counts_against_that_one_only(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={})
    examinations = {
        name: rows(*[("I2510", answer)] * 20)
        for name, answer in (("v0003", "I2510"), ("v0002", "J189"))
    }
    assert promote_best(
        registry, ["v0003"], examinations=examinations, config=QUICK, seed=0
    ).decision.accepted
    assert registry.aliases() == {"champion": "v0003"}
    assert registry.decision("v0003") is None  # it was made against v0002, and v0003 is champion
    registry.rollback(reason="test")
    kept = registry.decision("v0003")
    assert kept is not None and kept.accepted


def test_promotion_asks_for_predictions_of_both(registry: Registry) -> None:
    with pytest.raises(DataError, match="no predictions of v0002 among v0001"):
        promote_best(
            registry,
            ["v0001"],
            examinations={"v0001": rows(("I2510", "I2510"))},
            config=QUICK,
            seed=0,
        )


def test_the_best_of_several_candidates_wins_and_all_are_held_to_more(
    registry: Registry, models: list[Path]
) -> None:
    for trial in ("t3", "t4", "t5"):
        registry.register(models[2], lineage={"trial": trial})
    answers = {"v0002": None, "v0003": None, "v0004": "I2510", "v0005": "I259"}
    shown = {name: rows(*[("I2510", code)] * 40) for name, code in answers.items()}
    names = ["v0003", "v0005", "v0004"]
    verdict = promote_best(registry, names, examinations=shown, config=QUICK, seed=0)
    assert verdict.version == "v0004" and registry.aliases() == {"champion": "v0004"}
    assert verdict.decision.numbers["confidence"] == pytest.approx(1 - 0.05 / (2 * 3))
    registry.rollback(reason="to look at the decisions")
    kept = {name: registry.decision(name) for name in names}
    assert [kept[name] is not None and kept[name].accepted for name in names] == [False, True, True]
    split = registry.events()[-3].details["split"]
    assert registry.count_uses(split) == 1


def test_where_no_candidate_is_accepted_the_first_is_reported(
    registry: Registry, models: list[Path]
) -> None:
    for trial in ("t3", "t4"):
        registry.register(models[2], lineage={"trial": trial})
    shown = dict.fromkeys(("v0002", "v0003", "v0004"), rows(*[("I2510", "I2510")] * 40))
    verdict = promote_best(registry, ["v0003", "v0004"], examinations=shown, config=QUICK, seed=0)
    assert (verdict.version, verdict.decision.accepted) == ("v0003", False)


def test_the_champion_is_not_compared_with_itself(registry: Registry) -> None:
    before = registry.events()
    with pytest.raises(PromotionError, match="v0002 is champion already"):
        promote_best(registry, ["champion"], examinations={}, config=QUICK, seed=0)
    assert registry.events() == before
