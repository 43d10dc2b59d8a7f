"""Fingerprints of a trial's first updates, by which two trials can be told apart.

In: verl's actor workers, and the metrics of each step. Out: `fingerprint/1..3`, digests of the
actor's weights after the first three steps that moved them. Why weights and not gradients: trials
that differ in the learning rate only have equal first gradients. Why not simply the first three
steps: a warm-up begins with a rate of 0, and a step in which no answer is better than another has
no gradient, only weight decay.

A digest is SHA-256 over one hash (`torch.hash_tensor`, exclusive or of all bits) of every rank's
own part of each parameter: one pass where the weights are, nothing gathered, no order of summation.
Metrics are floats, so a fingerprint is the first 48 bits of it as an integer, which a float64 holds
exactly.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ray
import torch
from torch.distributed.tensor import DTensor

from deepicd.training.grpo.metric_names import FINGERPRINTS, GRAD_NORM
from deepicd.training.verl_plugin.verl_version import require_verl

_HEX_DIGITS = 12


class FirstUpdates:
    """The fingerprints of one trial, from before its first step on.

    Args:
        digest: gives the digest of the actor's weights as they are.
    """

    def __init__(self, digest: Callable[[], str]) -> None:
        self._digest = digest
        self._latest = digest()
        self._fingerprints: dict[str, float] = {}

    def after(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Every fingerprint so far, given the metrics of the step that is over."""
        if len(self._fingerprints) < len(FINGERPRINTS) and metrics.get(GRAD_NORM, 0.0) > 0:
            before, self._latest = self._latest, self._digest()
            if self._latest != before:
                self._fingerprints[FINGERPRINTS[len(self._fingerprints)]] = as_number(self._latest)
        return self._fingerprints


def digest_actor(workers: Sequence[Any]) -> str:
    """SHA-256 (hex) of the actor's weights over all of verl's workers, in the order of ranks."""
    require_verl("the fingerprint of an actor")
    digests = ray.get([worker.__ray_call__.remote(_digest_rank) for worker in workers])
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def as_number(digest: str) -> float:
    """The first 48 bits, exact in a float64."""
    return float(int(digest[:_HEX_DIGITS], 16))


def digest_weights(weights: Iterable[torch.Tensor]) -> str:
    """SHA-256 (hex) of what one rank holds of some parameters, in their order; at least one."""
    held = (weight.to_local() if isinstance(weight, DTensor) else weight for weight in weights)
    # A rank may hold nothing of a small parameter, and nothing has no hash.
    hashes = [torch.hash_tensor(weight) for weight in held if weight.numel()]
    bits: bytes = torch.stack(hashes).cpu().numpy().tobytes()
    return hashlib.sha256(bits).hexdigest()


def _digest_rank(workers: Any) -> str:
    """Runs in the process of verl's colocated workers."""
    return digest_weights(_actor_weights(workers))


def _actor_weights(workers: Any) -> Iterator[torch.Tensor]:
    # verl puts actor and reference into one process; only one of them has an actor.
    for worker in workers.worker_dict.values():
        if worker.actor is not None:
            yield from worker.actor.engine.module.parameters()
