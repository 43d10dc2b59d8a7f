"""The sum over all ranks is made for real, by Gloo, and a rank that fails or is missing is told."""

import pytest

from deepicd.doctor import all_reduce
from deepicd.doctor.all_reduce import free_port, plan_ranks, run_ranks


def test_two_ranks_sum_for_a_second():
    speed, fault = run_ranks("gloo", [0, 1], 2, address="127.0.0.1", port=free_port())
    assert fault == "" and speed > 1e6


def test_a_rank_that_never_comes_is_told(monkeypatch):
    monkeypatch.setattr(all_reduce, "_TIMEOUT_S", 8.0)
    speed, fault = run_ranks("gloo", [0], 2, address="127.0.0.1", port=free_port())
    assert speed == 0 and fault == "it did not end within 8 s"


def test_an_interface_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "none0")
    _, fault = run_ranks("gloo", [0, 1], 2, address="127.0.0.1", port=free_port())
    assert "none0" in fault


@pytest.mark.parametrize(
    ("cards", "plan"),
    [
        ({"a": 0}, ("gloo", {"a": [0, 1]})),
        ({"a": 1}, ("nccl", {"a": [0]})),
        ({"a": 0, "b": 0}, ("gloo", {"a": [0], "b": [1]})),
        ({"head": 0, "b": 2, "c": 3}, ("nccl", {"b": [0, 1], "c": [2, 3, 4]})),
        ({}, ("gloo", {})),
    ],
)
def test_every_card_is_a_rank_and_without_cards_every_node(cards, plan):
    assert plan_ranks(cards) == plan
