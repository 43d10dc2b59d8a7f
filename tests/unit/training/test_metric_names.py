"""Metric names: written once, as verl and our own code spell them."""

import re

import pytest

from deepicd.training.grpo import metric_names

VERLS = (
    metric_names.REWARD,
    metric_names.RESPONSE_LENGTH,
    metric_names.RESPONSE_CLIP_RATIO,
    metric_names.PROBS_PEARSON,
    metric_names.KL_PENALTY,
    metric_names.KL_PENALTY_COEFFICIENT,
    metric_names.CLIP_FRACTION,
    metric_names.GRAD_NORM,
    metric_names.KL_LOSS,
    metric_names.KL_LOSS_COEFFICIENT,
    metric_names.THROUGHPUT,
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (metric_names.validation("hierarchical_f1"), "validation/hierarchical_f1"),
        (metric_names.reward_component("format"), "reward/reward_format/mean"),
        (metric_names.weighted_component("format", "std"), "reward/weighted_format/std"),
        (metric_names.reward_statistic("total", "mean"), "reward/total/mean"),
        (metric_names.timing("gen"), "timing_s/gen"),
    ],
)
def test_a_name_is_made_of_its_room_and_what_it_measures(name, text):
    assert name == text


def test_every_fingerprint_has_a_number_of_its_own():
    assert metric_names.FINGERPRINTS == ("fingerprint/1", "fingerprint/2", "fingerprint/3")


@pytest.mark.parametrize("name", VERLS)
def test_the_installed_verl_spells_its_metrics_as_we_do(verl_sources, name):
    """verl builds some names from a prefix, so the last part must be there."""
    assert re.search(rf"[\"'/_]{re.escape(name.partition('/')[2])}[\"']", verl_sources)


@pytest.fixture(scope="module")
def verl_sources() -> str:
    """verl's Python text, read and not imported."""
    from importlib.metadata import files

    found = [file for file in files("verl") or () if file.suffix == ".py"]
    if not found:
        pytest.skip("verl is not installed")
    return "\n".join(file.read_text() for file in found)
