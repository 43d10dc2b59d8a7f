"""How long a sweep can still take, from the steps seen so far."""

import pytest

from deepicd.sweeps.callbacks.eta import SweepEta, clock


def test_a_start_and_a_step_are_timed_apart():
    eta = SweepEta(num_trials=3, total_steps=5)
    eta.start("a", now=0.0)
    eta.advance("a", 0, now=10.0)
    eta.advance("a", 1, now=100.0)
    eta.advance("a", 2, now=110.0)
    assert eta.remaining_s("a") == (30.0, 30.0 + 2 * (100.0 + 4 * 10.0))


def test_a_trial_that_ended_takes_no_more_time():
    eta = SweepEta(num_trials=2, total_steps=3)
    eta.start("a", now=0.0)
    eta.advance("a", 1, now=50.0)
    eta.advance("a", 2, now=55.0)
    eta.end("a")
    eta.start("b", now=60.0)
    assert eta.remaining_s("b") == (15.0, 15.0)


def test_a_trial_that_starts_again_is_counted_once():
    eta = SweepEta(num_trials=1, total_steps=3)
    eta.start("a", now=0.0)
    eta.start("a", now=9.0)
    eta.advance("a", 1, now=19.0)
    eta.advance("a", 2, now=20.0)
    assert eta.remaining_s("a") == (1.0, 1.0)


def test_trials_that_run_at_once_share_the_time():
    eta = SweepEta(num_trials=5, total_steps=3, at_once=2)
    for trial in ("a", "b"):
        eta.start(trial, now=0.0)
        eta.advance(trial, 1, now=50.0)
        eta.advance(trial, 2, now=55.0)
    whole = 50.0 + 2 * 5.0
    assert eta.remaining_s("a") == (5.0, 5.0 + 2 * whole)  # three trials on two slots


def test_a_slot_that_waits_for_its_next_trial_has_no_time_of_its_own():
    eta = SweepEta(num_trials=3, total_steps=3, at_once=2)
    eta.start("a", now=0.0)
    eta.advance("a", 1, now=50.0)
    eta.advance("a", 2, now=55.0)
    assert eta.remaining_s("a") == (5.0, 5.0 + 60.0)


def test_nothing_is_promised_before_the_first_step():
    eta = SweepEta(num_trials=2, total_steps=3)
    eta.start("a", now=0.0)
    assert eta.remaining_s("a") == (0.0, 0.0)


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0:00"), (42, "0:42"), (725, "12:05")])
def test_durations_for_people(seconds, words):
    assert clock(seconds) == words
