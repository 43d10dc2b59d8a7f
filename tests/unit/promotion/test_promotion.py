"""Promotion of a candidate."""

from pathlib import Path
from typing import Any

import pytest
from registry_models import QUICK, rows

from deepicd.errors import (
    DataError,
)
from deepicd.promotion.promote import promote_candidate
from deepicd.promotion.registry import Registry
from deepicd.records import (
    Decision,
)


def test_a_rejected_candidate_changes_nothing_and_its_reasons_are_kept(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={})
    examinations = {"v0003": rows(("I2510", "J189")), "v0002": rows(("I2510", "I2510"))}
    decision = promote_candidate(registry, "v0003", examinations=examinations, config=QUICK, seed=0)
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
        decision = promote_candidate(registry, "v0003", examinations=shown, config=QUICK, seed=0)
        return decision.numbers

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
    examinations = {"v0003": rows(("I2510", "I2510")), "v0002": rows(("I2510", "J189"))}
    assert promote_candidate(
        registry, "v0003", examinations=examinations, config=QUICK, seed=0
    ).accepted
    assert registry.aliases() == {"champion": "v0003"}
    assert registry.decision("v0003") is None  # it was made against v0002, and v0003 is champion
    registry.rollback(reason="test")
    kept = registry.decision("v0003")
    assert kept is not None and kept.accepted


def test_promotion_asks_for_predictions_of_both(registry: Registry) -> None:
    with pytest.raises(DataError, match="no predictions of v0002 among v0001"):
        promote_candidate(
            registry,
            "v0001",
            examinations={"v0001": rows(("I2510", "I2510"))},
            config=QUICK,
            seed=0,
        )
