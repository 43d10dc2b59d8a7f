"""The rows that verl asks for: in order, waited for, wrapped around, and the order of epochs."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.errors import DataError
from deepicd.training.grpo.dataset import EpochSampler, RowStream, verl_row

BLOCKS = [[{"n": 0}, {"n": 1}], [{"n": 2}]]


def take(sampler: EpochSampler, number: int) -> list[int]:
    """That many indices, over as many epochs as they take."""
    taken: list[int] = []
    while len(taken) < number:
        for index in sampler:
            taken.append(index)
            if len(taken) == number:
                break
    return taken


def test_rows_are_addressed_by_index_and_wrap_around_at_the_end():
    stream = RowStream(iter(BLOCKS))
    assert [stream.row(index)["n"] for index in (2, 0, 1, 3, 7)] == [2, 0, 1, 0, 1]


def test_a_row_that_has_not_arrived_is_waited_for_and_the_wait_is_counted():
    go_on = threading.Event()

    def blocks():
        yield BLOCKS[0]
        go_on.wait(10)
        yield BLOCKS[1]

    stream = RowStream(blocks())
    assert stream.row(0) == {"n": 0}
    waited = stream.waited_s
    threading.Timer(0.2, go_on.set).start()
    assert stream.row(2) == {"n": 2} and stream.waited_s - waited > 0.1


def test_nothing_is_read_before_the_first_row_is_asked_for():
    begun = threading.Event()

    def blocks():
        begun.set()
        yield [{"n": 0}]

    stream = RowStream(blocks())
    time.sleep(0.05)
    assert not begun.is_set()
    stream.start()
    stream.start()
    assert begun.wait(5) and stream.row(0) == {"n": 0}


def test_an_error_of_the_reader_reaches_whoever_asks_for_a_row_that_never_came():
    def blocks():
        yield BLOCKS[0]
        raise OSError("the disk is gone")

    stream = RowStream(blocks())
    with pytest.raises(OSError, match="the disk is gone"):
        stream.row(2)
    assert stream.row(1) == {"n": 1}, "what had arrived stays"


def test_a_split_in_which_nothing_fits_is_an_error_with_the_way_out():
    with pytest.raises(DataError, match=r"fits into data\.max_prompt_tokens; raise it"):
        RowStream(iter([])).row(0)


@given(rows=st.integers(1, 20), seed=st.integers(0, 99), done=st.integers(0, 60))
def test_a_resumed_sampler_goes_on_with_the_next_unseen_row(rows, seed, done):
    whole = take(EpochSampler(rows, seed=seed, is_shuffled=True), done + 25)
    first = EpochSampler(rows, seed=seed, is_shuffled=True)
    taken = take(first, done)
    resumed = EpochSampler(rows, seed=seed, is_shuffled=True)
    resumed.load_state_dict(first.state_dict())
    assert taken + take(resumed, 25) == whole


@given(rows=st.integers(1, 20), seed=st.integers(0, 99))
def test_every_epoch_has_every_row_once_and_the_first_takes_them_as_they_come(rows, seed):
    sampler = EpochSampler(rows, seed=seed, is_shuffled=True)
    epochs = [list(sampler) for _ in range(3)]
    assert epochs[0] == list(range(rows)) and len(sampler) == rows
    assert all(sorted(epoch) == epochs[0] for epoch in epochs)


def test_later_epochs_are_shuffled_by_seed_and_epoch_and_a_curriculum_is_repeated():
    one, same, other = (EpochSampler(50, seed=seed, is_shuffled=True) for seed in (1, 1, 2))
    orders = [[list(each) for _ in range(3)] for each in (one, same, other)]
    assert orders[0] == orders[1] and orders[0][1] != orders[0][2] != orders[2][2]
    curriculum = EpochSampler(50, seed=1, is_shuffled=False)
    assert list(curriculum) == list(curriculum) == list(range(50))


def test_a_row_holds_what_trainer_and_reward_read_and_no_text_but_the_note():
    prompt = {"token_ids": (5, 6), "code": "I10", "note_id": "a", "patient_id": "p", "text": "t"}
    row = verl_row(prompt, 3)
    assert row["raw_prompt"] == [5, 6] and row["index"] == 3
    assert row["reward_model"] == {"style": "rule", "ground_truth": "I10"}
    assert row["extra_info"] == {"index": 3, "note_id": "a", "patient_id": "p", "note": "t"}
