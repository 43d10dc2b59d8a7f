"""What is compared, what is left out of a comparison, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from registry_models import QUICK, rows

from deepicd.errors import CheckpointError, PromotionError
from deepicd.promotion.lineage import GRPO, Lineage
from deepicd.promotion.patients import PATIENTS
from deepicd.promotion.promote import Verdict, promote_best
from deepicd.promotion.registry import Registry
from deepicd.records import Limits

DATA: dict[str, Any] = {
    "codes": {"release": "FY2026", "sha256": "21"},
    "settings": {"source": "embedded", "num_notes": 1500},
    "seed": 1,
}
HERE = Lineage(stage=GRPO, data=DATA, limits=Limits(192, 48))
CHAMPION = rows(*[("I2510", "J189")] * 40)
CANDIDATE = rows(*[("I2510", "I2510")] * 40)


def meet(
    store: Registry,
    models: list[Path],
    *,
    sides: tuple[Lineage, Lineage] = (HERE, replace(HERE, trial="t")),
    patients: tuple[list[str] | None, list[str] | None] = ([], []),
    **config: Any,
) -> Verdict:
    """A champion meets a candidate that is right where it is wrong."""
    for model, side, trained in zip(models, sides, patients, strict=False):
        listed = None if trained is None else store.list_patients(trained)
        store.register(model, lineage=side.as_dict(), patients=listed)
    store.promote("v0001", reason="test")
    shown = {"v0001": CHAMPION, "v0002": CANDIDATE}
    settings = QUICK.model_copy(update=config)
    return promote_best(store, ["v0002"], examinations=shown, config=settings, seed=0)


@pytest.fixture
def store(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "empty")


def test_versions_of_the_same_notes_and_limits_are_compared_without_a_remark(
    store: Registry, models: list[Path]
) -> None:
    decision = meet(store, models).decision
    assert decision.accepted and decision.numbers["num_left_out"] == 0
    assert all(
        reason.startswith("met: ") for reason in decision.reasons if "undecided" not in reason
    )


def test_patients_that_either_was_trained_on_are_left_out_counted_and_said(
    store: Registry, models: list[Path]
) -> None:
    ours, theirs = [f"p{i}" for i in range(5)], [f"p{i}" for i in range(3, 12)]
    decision = meet(store, models, patients=(theirs, [*ours, "p999"])).decision
    assert decision.accepted
    assert decision.numbers["num_left_out"] == 12 and decision.numbers["num_patients"] == 28
    assert any(
        reason == "left out: 12 of the 40 patients of the promotion split, whom v0002 or v0001 "
        "was trained on"
        for reason in decision.reasons
    )


@pytest.mark.parametrize("num_trained", [21, 40])
def test_with_too_few_patients_left_nothing_is_judged_and_no_use_is_counted(
    store: Registry, models: list[Path], num_trained: int
) -> None:
    trained = [f"p{i}" for i in range(num_trained)]
    decision = meet(store, models, patients=(trained, []), min_patients=20).decision
    assert not decision.accepted and "difference" not in decision.numbers
    assert decision.reasons[0].startswith(
        f"NOT judged: {40 - num_trained} patients are left to compare on, and fewer than 20"
    )
    assert decision.numbers["num_left_out"] == num_trained
    assert store.events()[-1].details["use"] == 0
    assert store.count_uses(store.events()[-1].details["split"]) == 0
    assert store.aliases() == {"champion": "v0001"}


def test_a_version_without_a_list_of_patients_is_said_to_be_unknown(
    store: Registry, models: list[Path]
) -> None:
    decision = meet(store, models, patients=(None, []), sides=(Lineage(), HERE)).decision
    said = [reason for reason in decision.reasons if reason.startswith("unknown: ")]
    assert "nobody recorded which patients v0001 was trained on" in said[0]
    assert "the ICD-10-CM table, source of notes, limits of v0001" in said[1]
    assert len(said) == 2 and decision.accepted


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"data": {**DATA, "codes": {"release": "FY2025", "sha256": "20"}}},
            r"ICD-10-CM table FY2025 \(20\) of the champion and FY2026 \(21\) of the candidate",
        ),
        (
            {"data": {**DATA, "settings": {"source": "mimic"}}},
            "source of notes mimic of the champion and embedded of the candidate",
        ),
        (
            {"limits": Limits(256, 48)},
            "data.max_prompt_tokens = 256, .* of the champion and data.max_prompt_tokens = 192, ",
        ),
        ({"limits": Limits(192, 48, "filter")}, "data.overlong = filter of the champion"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_differs_and_the_way_out(
    store: Registry, models: list[Path], changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(PromotionError, match=match) as caught:
        meet(store, models, sides=(replace(HERE, **changes), HERE))
    assert "v0002 cannot be compared with the champion v0001: " in str(caught.value)
    assert "promotion.registry" in str(caught.value) and "v0002 --force" in str(caught.value)
    assert store.aliases() == {"champion": "v0001"}
    assert [event.kind for event in store.events()] == ["registered", "registered", "promoted"]


def test_other_notes_of_the_same_source_are_compared_and_said(
    store: Registry, models: list[Path]
) -> None:
    other = replace(
        HERE, data={**DATA, "settings": {"source": "embedded", "num_notes": 900}, "seed": 2}
    )
    reasons = meet(store, models, sides=(other, HERE)).decision.reasons
    assert reasons[-1] == (
        "note: v0001 was trained on other notes: data.num_notes was 900 for it and 1500 for v0002; "
        "data.split_seed was 2 for it and 1 for v0002"
    )


# The lists


def test_a_list_is_salted_counted_and_covered_by_the_manifest(
    registry: Registry, models: list[Path], tmp_path: Path
) -> None:
    other = Registry(tmp_path / "other")
    listed = registry.list_patients(["10000001", "10000002", "10000001"])
    assert (
        len(listed.digests) == 2 and not listed.digests & other.list_patients(["10000001"]).digests
    )
    version = registry.register(models[2], lineage={}, patients=listed)
    assert version.lineage["patients"]["count"] == 2
    assert "10000001" not in (version.path / PATIENTS).read_text()
    assert registry.patients_of("v0003") == listed and registry.patients_of("v0001") is None
    assert registry.find_listed(["10000002", "3"], [listed]) == {"10000002"}
    (version.path / PATIENTS).write_text("")
    with pytest.raises(CheckpointError, match=r"patients.txt is not the list that was registered"):
        registry.patients_of("v0003")
    with pytest.raises(CheckpointError, match=r"patients.txt differs from its manifest"):
        registry.verify("v0003")


def test_a_list_does_not_go_with_a_copy_of_the_folder(
    registry: Registry, models: list[Path]
) -> None:
    listed = registry.list_patients(["10000001"])
    version = registry.register(models[2], lineage={}, patients=listed)
    again = registry.register(version.path, lineage={**version.lineage, "fitted": "further"})
    assert registry.patients_of(again.name) is None and not (again.path / PATIENTS).exists()


@pytest.mark.parametrize(("salt", "match"), [("0" * 64, "another salt"), ("", "holds no salt")])
def test_another_salt_is_noticed(
    registry: Registry, models: list[Path], salt: str, match: str
) -> None:
    registry.register(models[2], lineage={}, patients=registry.list_patients(["1"]))
    (registry.root / "salt").write_text(salt)
    with pytest.raises(PromotionError, match=match):
        registry.patients_of("v0003")


def test_the_patients_of_a_version_that_training_went_on_from_count_too(
    registry: Registry, models: list[Path]
) -> None:
    first = registry.list_patients(["1", "2"])
    both = first | registry.list_patients(["2", "3"])
    registry.register(models[2], lineage={}, patients=both)
    assert registry.find_listed("123456", [both]) == {"1", "2", "3"}
