"""Which addresses of an experiment act on a trial, and under which condition.

In: an experiment and an address that its sweep searches. Out: why trials that differ there would
not differ in what is compared, or nothing. Decided here, address by address: notes, start model and
SFT are made once per run, before the sweep; resources and the number of steps belong to the sweep;
a trial has what is left. A value that no trial would read is refused instead of being searched.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product

from deepicd.config import Choice, Experiment, Scalar
from deepicd.errors import ConfigError, Fault
from deepicd.rewards import resolve_weights
from deepicd.training.grpo.config import INEFFECTIVE, MAPPED

Rule = str | Callable[[Experiment, str], str]
"""Why an address does nothing in a trial: always, or the answer for one experiment. Empty: it
acts."""

_ACTS = ""
_NOTES = "the notes are built once per run, before the sweep, and trials are compared on the same"
_MODEL = "the start model is built once per run, before the sweep"
_SFT = "every trial starts from the same SFT model, which is trained before the sweep"
_LENGTH = (
    "scheduler, budget and status count on trials of one length, validated at the same steps; a "
    "trial that is not worth its length is stopped early"
)
_RESOURCES = "resources are the same for every trial of a sweep; run one sweep for each"
_WORDS = "it names or describes the run; no trial reads it"
_GUARD = "it guards trials and trains none"
_AFTER = "it is used after the sweep; no trial reads it"
_JUDGE = "whoever judges answers is asked in the same way in every trial, or ratings do not compare"

_ACTOR = "verl.actor_rollout_ref.actor"
_WEIGHT = "rewards.weights."


def _needs(switch: str) -> Rule:
    def rule(experiment: Experiment, address: str) -> str:
        domain = experiment.sweep.search.get(address)
        # Where it is drawn with some values of the switch only, these count.
        drawn_with = domain.when.get(switch) if domain is not None else None
        if any(drawn_with or possible(experiment, switch)):
            return _ACTS
        return f"{switch} is false in every trial; set it, or search it too"

    return rule


def _needs_coefficient(coefficient: str) -> Rule:
    def rule(experiment: Experiment, _: str) -> str:
        if any(possible(experiment, coefficient)):
            return _ACTS
        return f"{coefficient} is 0 in every trial; raise it"

    return rule


def _clip(experiment: Experiment, _: str) -> str:
    batches = (possible(experiment, f"training.{name}") for name in _BATCHES)
    has_later_update = any(whole != mini for whole, mini in product(*batches))
    epochs = possible(experiment, f"{_ACTOR}.ppo_epochs", 1)
    # verl then takes the rollout's probabilities for the old policy's: no ratio is exactly 1.
    is_off_policy = possible(experiment, "training.bypass_mode")
    if has_later_update or any(number != 1 for number in epochs) or any(is_off_policy):
        return _ACTS
    return (
        "with one mini-batch per batch and one PPO epoch the policy that is updated is the one "
        "that answered, so the ratio is 1 and nothing is clipped; lower "
        "training.ppo_mini_batch_size"
    )


_BATCHES = ("train_batch_size", "ppo_mini_batch_size")


def _micro_batch(experiment: Experiment, _: str) -> str:
    if all(possible(experiment, f"{_ACTOR}.use_dynamic_bsz", False)):
        return f'[verl] "{_ACTOR.removeprefix("verl.")}.use_dynamic_bsz" sizes micro-batches'
    return _ACTS


def _prompt_length(experiment: Experiment, _: str) -> str:
    if experiment.data.overlong == "truncate":
        return _ACTS
    return (
        "with data.overlong = 'filter' it decides which validation notes a trial answers, and "
        "trials are compared on the same; set data.overlong = 'truncate'"
    )


def _preset(experiment: Experiment, address: str) -> str:
    chosen = [_greatest_weights(experiment, str(name)) for name in possible(experiment, address)]
    is_one = all(weights == chosen[0] for weights in chosen)
    return "rewards.weights replaces every weight in which they differ" if is_one else _ACTS


def _weight(experiment: Experiment, address: str) -> str:
    name = address.removeprefix(_WEIGHT)
    others = [
        weight
        for preset in possible(experiment, "rewards.preset")
        for other, weight in _greatest_weights(experiment, str(preset)).items()
        if other != name
    ]
    is_scaled_away = all(possible(experiment, "verl.algorithm.norm_adv_by_std_in_grpo", True))
    has_penalty = any(possible(experiment, "training.use_kl_in_reward"))
    if any(others) or has_penalty or not is_scaled_away:
        return _ACTS
    return (
        f"no other component has a weight, and GRPO divides rewards by their spread in the group, "
        f"so any weight of {name} is the same; give another component a weight"
    )


def _curve(experiment: Experiment, _: str) -> str:
    presets = possible(experiment, "rewards.preset")
    if any(_greatest_weights(experiment, str(name)).get("hierarchy") for name in presets):
        return _ACTS
    return "the component hierarchy has no weight in any trial; set rewards.weights.hierarchy"


def _verl(_: Experiment, address: str) -> str:
    key = address.removeprefix("verl.").removeprefix("+")
    if key in MAPPED:
        return f"it is set by {MAPPED[key]}; search that"
    for table, reason in INEFFECTIVE.items():
        if key == table or key.startswith(f"{table}."):
            return reason
    return _ACTS


RULES: Mapping[str, Rule] = {
    "name": _WORDS,
    "question": _WORDS,
    "profile": "the machines of a sweep are of one kind",
    "seed": _ACTS,
    "data.source": _NOTES,
    "data.root": _NOTES,
    "data.file": _NOTES,
    "data.columns.": _NOTES,
    "data.sections": _NOTES,
    "data.num_notes": _NOTES,
    "data.num_codes": _NOTES,
    "data.difficulty": _NOTES,
    "data.split_shares": _NOTES,
    "data.split_seed": _NOTES,
    "data.splits": _NOTES,
    "data.max_prompt_tokens": _prompt_length,
    "data.overlong": "it decides which validation notes a trial answers; trials share them",
    "data.curriculum": _ACTS,
    "data.num_validation": "trials are compared on the same validation notes",
    "model.": _MODEL,
    "sft.": _SFT,
    "traces.": _SFT,
    "training.train_batch_size": _ACTS,
    "training.ppo_mini_batch_size": _ACTS,
    "training.ppo_micro_batch_size_per_gpu": _micro_batch,
    "training.rollout_n": _ACTS,
    "training.temperature": _ACTS,
    "training.learning_rate": _ACTS,
    "training.lr_warmup_steps": _ACTS,
    "training.entropy_coeff": _ACTS,
    "training.use_kl_in_reward": _needs_coefficient("training.kl_coef"),
    "training.kl_coef": _needs("training.use_kl_in_reward"),
    "training.use_kl_loss": _needs_coefficient("training.kl_loss_coef"),
    "training.kl_loss_coef": _needs("training.use_kl_loss"),
    "training.clip_ratio": _clip,
    "training.bypass_mode": _ACTS,
    "training.max_response_tokens": _ACTS,
    "training.total_steps": _LENGTH,
    "training.total_epochs": _LENGTH,
    "training.validate_every": _LENGTH,
    "training.num_gpus": _RESOURCES,
    "training.num_nodes": _RESOURCES,
    "training.disk_wait_s": _GUARD,
    "training.attention": "it decides what the numbers are computed with, as an engine is built",
    "training.hang_timeout_s": _GUARD,
    "training.keep_rollouts": "it decides what is written, not what is trained",
    "training.min_probs_pearson": _GUARD,
    "rewards.preset": _preset,
    "rewards.weights": "it is a table; search one of its weights, rewards.weights.NAME",
    _WEIGHT: _weight,
    "rewards.hierarchy_curve": _curve,
    "rewards.judge.": _JUDGE,
    "sweep.": "it rules the sweep, not a trial",
    "evaluation.": _AFTER,
    "promotion.": _AFTER,
    "serving.": _AFTER,
    "verl": 'it is a table; search one of its keys, "verl.KEY"',
    "verl.": _verl,
}
"""Address, or with a dot at its end the table it begins → what it does in a trial."""


def find_faults(experiment: Experiment) -> Iterator[Fault]:
    """Searched addresses that act on no trial, each with the reason."""
    for address, domain in experiment.sweep.search.items():
        place, value = f"sweep.search.{address}", domain.model_dump(mode="json")
        try:
            reason = idle_reason(experiment, address)
        except ConfigError as error:
            yield Fault(place, str(error), "remove it from the search", value)
            continue
        if reason:
            # A rule says why first, and after a semicolon the way out.
            why, _, way_out = reason.partition("; ")
            rule = f"[sweep.search] {address} would not change what is compared between trials"
            way_out = f"{way_out}; or remove it from the search" if way_out else "remove it"
            yield Fault(place, f"{rule}: {why}", way_out, value)


def idle_reason(experiment: Experiment, address: str) -> str:
    """Why trials that differ in this address do not differ otherwise; empty when they do."""
    rule = rule_of(address)
    return rule if isinstance(rule, str) else rule(experiment, address)


def rule_of(address: str) -> Rule:
    """The rule of an address, or of the nearest table that it is in.

    Raises:
        ConfigError: nobody has decided; the address is new.
    """
    for name in (address, *_tables(address)):
        if name in RULES:
            return RULES[name]
    raise ConfigError(
        f"[sweep.search] {address}: nobody has said whether a trial reads it; add it to "
        "training/grpo/effects.py"
    )


def _tables(address: str) -> list[str]:
    keys = address.split(".")
    return [".".join(keys[:number]) + "." for number in range(len(keys) - 1, 0, -1)]


def possible(
    experiment: Experiment, address: str, default: Scalar | None = None
) -> tuple[Scalar, ...]:
    """Values that an address has in trials of the sweep: what is searched (both ends of a range),
    and the experiment's own where it is not drawn; `default` for a key that neither sets.
    """
    domain = experiment.sweep.search.get(address)
    own = () if domain is not None and not domain.when else _own(experiment, address, default)
    if domain is None:
        return own
    return (*(domain.values if isinstance(domain, Choice) else (domain.low, domain.high)), *own)


def _own(experiment: Experiment, address: str, default: Scalar | None) -> tuple[Scalar, ...]:
    section, _, name = address.partition(".")
    if section == "verl":
        value = experiment.verl.get(name, default)
    elif address.startswith(_WEIGHT):
        value = experiment.rewards.weights.get(address.removeprefix(_WEIGHT), default)
    else:
        value = getattr(getattr(experiment, section), name)
    return () if value is None else (value,)


def _greatest_weights(experiment: Experiment, preset: str) -> dict[str, float]:
    """Reward component → the greatest weight that a trial can give it."""
    searched = {
        address.removeprefix(_WEIGHT): max(map(float, possible(experiment, address)))
        for address in experiment.sweep.search
        if address.startswith(_WEIGHT)
    }
    return resolve_weights(preset, {**experiment.rewards.weights, **searched})
