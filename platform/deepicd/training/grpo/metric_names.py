"""Names of the metrics in a trial's report: those of verl that we read, and our own.

In: nothing. Out: names. Decided here: every metric name is written once. verl's names are those of
0.9.1 (`verl/trainer/ppo/metric_utils.py`, `verl/workers/utils/losses.py` and the trainer's timers);
ours follow the same form, `group/name`. This module imports nothing, so that sweeps and reports
read names without starting torch or Ray.
"""

# Our own, beside the metrics: plain keys without a group.
STEP = "step"
"""GRPO steps done."""
OBJECTIVE = "objective"
"""What sampler and scheduler read: the last validation score, NaN before the first."""
PLACEMENT_GROUP = "placement_group"
"""Id (hex) of the Train worker's placement group, which the sweep removes with the trial."""
INTERRUPTIONS = "interruptions"
"""How often the cluster interrupted the trial."""
INTERRUPTION = "interruption"
"""What interrupted it last."""

# Our own.
GPU_HOURS = "cost/gpu_hours"
"""Clock time of the trial in hours, restarts included, times its GPUs."""
START_SECONDS = "start/seconds"
"""Seconds from the request until the first step could begin."""
REUSED_ENGINE = "start/reused_engine"
"""1 when the trial started in the processes of the one before, else 0."""
WAITED_S = "data/waited_s"
"""Seconds of the step in which the trainer waited for notes."""
FINGERPRINTS = ("fingerprint/1", "fingerprint/2", "fingerprint/3")
"""Digests of the actor's weights after the first updates, as numbers."""
VALIDATION = "validation/"
"""Beginning of every score on the validation notes."""
REWARD_COMPONENT = "reward/reward_"
"""Beginning of every metric of an unweighted reward component."""

# verl's.
REWARD = "critic/score/mean"
"""Mean total reward of the step's answers."""
RESPONSE_LENGTH = "response_length/mean"
"""Mean length of the step's answers in tokens."""
RESPONSE_CLIP_RATIO = "response_length/clip_ratio"
"""Share of answers that were cut at `training.max_response_tokens`."""
GRAD_NORM = "actor/grad_norm"
CLIP_FRACTION = "actor/pg_clipfrac"
"""Share of tokens whose probability ratio was clipped."""
PPO_KL = "actor/ppo_kl"
"""How far the updated policy is from the one that counts as old, in nats a token."""
KL_PENALTY = "actor/reward_kl_penalty"
KL_PENALTY_COEFFICIENT = "actor/reward_kl_penalty_coeff"
KL_LOSS = "actor/kl_loss"
KL_LOSS_COEFFICIENT = "actor/kl_coef"
PROBS_PEARSON = "training/rollout_actor_probs_pearson_corr"
"""Correlation of the probabilities that actor and rollout give to the sampled tokens."""
THROUGHPUT = "perf/throughput"
"""Tokens per second and GPU."""


def validation(score: str) -> str:
    """Name of a validation score, as `scoring` calls it."""
    return f"{VALIDATION}{score}"


def reward_statistic(column: str, statistic: str) -> str:
    """Name of the mean or std of a column that the reward function returns for every answer."""
    return f"reward/{column}/{statistic}"


def reward_component(component: str, statistic: str = "mean") -> str:
    """Name of the mean or std of an unweighted reward component."""
    return f"{REWARD_COMPONENT}{component}/{statistic}"


def weighted_component(component: str, statistic: str = "mean") -> str:
    """Name of the mean or std of what a reward component adds to the total."""
    return f"reward/weighted_{component}/{statistic}"


def timing(timer: str) -> str:
    """Name of the seconds that one of verl's timers measured in a step."""
    return f"timing_s/{timer}"
