"""What verl calls for the reward of a rollout (`pkg://deepicd.rewards.verl_entry`).

`compute_score` is the one without a judge. verl awaits `compute_judged_score` in its reward loop,
many answers side by side; it asks the judge and adds `judge_absent` (0 or 1), `judge_cached`,
`judge_seconds` and `judge_cost`. Where the judge is absent `reward_judge` is NaN, not 0.

In: verl's arguments, and `preset`, `weights`, `hierarchy_curve` from its `reward_kwargs`. Out: one
flat dict with the same keys for every answer, since verl turns the keys of a batch into columns:
`score` (total), `parsable` (0 or 1), `prediction` (canonical code or empty), `gold`, `note_id` and
`patient_id` (for the scoring of validation answers), and `reward_<name>` and `weighted_<name>` for
every component.

Called once per rollout inside verl's reward worker: the built reward is kept per configuration. Any
text a model can write gives a number. Wrong configuration or a wrong gold label raises: it is ours,
and never a score of 0.
"""

import asyncio
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from deepicd.answers import parse_answer
from deepicd.config import JudgeConfig
from deepicd.records import Answer, Score
from deepicd.rewards.composite import JUDGE, Reward, build_reward
from deepicd.rewards.judge import Judge

# Weak, so that the judges of an event loop that is gone go too.
_JUDGES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Judge]] = WeakKeyDictionary()


def compute_score(  # noqa: PLR0913, PLR0917 - verl calls it with these names
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    preset: str = "default",
    weights: Mapping[str, float] | None = None,
    hierarchy_curve: float = 1.0,
    **_: Any,
) -> dict[str, float | str]:
    """Score one rollout; the prompt is taken to end in `<think>`, as `prompts` renders it.

    `extra_info["note"]`, where present, is the admission note.

    Raises:
        ConfigError: preset, weights or curve cannot work.
        CodeError: the gold label is not one ICD-10-CM code.
    """
    reward = _reward(preset, _key(weights), hierarchy_curve)
    answer, note = parse_answer(solution_str), _note(extra_info)
    score = reward(answer, ground_truth, note)
    return {"gold": ground_truth, **_ids(extra_info), **_columns(answer, score)}


async def compute_judged_score(  # noqa: PLR0913, PLR0917 - verl calls it with these names
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    preset: str = "default",
    weights: Mapping[str, float] | None = None,
    hierarchy_curve: float = 1.0,
    judge: Mapping[str, Any] | None = None,
    **_: Any,
) -> dict[str, float | str]:
    """`compute_score` with the component `judge`; `judge` holds the values of `config.JudgeConfig`.

    Raises:
        ConfigError: as in `compute_score`, or the endpoint refuses key or model.
        JudgeError: there is no rating, and `when_down` is `stop`.
    """
    reward = _reward(preset, _key(weights), hierarchy_curve)
    answer, note = parse_answer(solution_str), _note(extra_info)
    judged = await _judge(_key(judge)).judge(answer, note or "")
    score = reward(answer, ground_truth, note, judged=judged.value)
    return {
        "gold": ground_truth,
        **_ids(extra_info),
        **_columns(answer, score),
        f"reward_{JUDGE}": math.nan if judged.value is None else judged.value,
        f"weighted_{JUDGE}": math.nan
        if judged.value is None
        else score.weights[JUDGE] * judged.value,
        "judge_absent": float(judged.value is None),
        "judge_cached": float(judged.is_cached),
        "judge_seconds": judged.seconds,
        "judge_cost": judged.cost,
    }


def _columns(answer: Answer, score: Score) -> dict[str, float | str]:
    result: dict[str, float | str] = {
        "score": score.total,
        "parsable": float(answer.code is not None),
        "prediction": answer.code or "",
    }
    for name, value in score.components.items():
        result[f"reward_{name}"] = value
        result[f"weighted_{name}"] = score.weights[name] * value
    return result


def _ids(extra_info: Mapping[str, Any] | None) -> dict[str, str]:
    fields = extra_info or {}
    return {name: str(fields.get(name, "")) for name in ("note_id", "patient_id")}


def _note(extra_info: Mapping[str, Any] | None) -> str | None:
    note = (extra_info or {}).get("note")
    return note if isinstance(note, str) else None


def _key(values: Mapping[str, Any] | None) -> str:
    # A key for the caches below, which take nothing mutable; verl's values may be OmegaConf lists.
    return json.dumps(dict(values or {}), sort_keys=True, default=list)


@lru_cache(maxsize=16)
def _reward(preset: str, weights: str, hierarchy_curve: float) -> Reward:
    return build_reward(preset, json.loads(weights), hierarchy_curve=hierarchy_curve)


def _judge(settings: str) -> Judge:
    """The judge of this event loop: its connections cannot leave the loop."""
    judges = _JUDGES.setdefault(asyncio.get_running_loop(), {})
    if settings not in judges:
        judges[settings] = Judge(JudgeConfig.model_validate_json(settings))
    return judges[settings]
