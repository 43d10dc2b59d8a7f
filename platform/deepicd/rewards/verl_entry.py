"""verl's custom reward function, named to it as `pkg://deepicd.rewards.verl_entry`.

In: verl's arguments, and `preset`, `weights`, `hierarchy_curve` from its `reward_kwargs`. Out: one
flat dict with the same keys for every answer, since verl turns the keys of a batch into columns:
`score` (total), `parsable` (0 or 1), `prediction` (canonical code or empty), `gold`, `note_id` and
`patient_id` (for the scoring of validation answers), and `reward_<name>` and `weighted_<name>` for
every part.

Called once per rollout inside verl's reward worker: the built reward is kept per configuration. Any
text a model can write gives a number. Wrong configuration or a wrong gold label raises: it is ours,
and never a score of 0.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from deepicd.answers import parse_answer
from deepicd.rewards.table import Reward, build_reward


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
    reward = _reward(preset, json.dumps(dict(weights or {}), sort_keys=True), hierarchy_curve)
    answer = parse_answer(solution_str)
    given = extra_info or {}
    note = given.get("note")
    score = reward(answer, ground_truth, note if isinstance(note, str) else None)
    result: dict[str, float | str] = {
        "score": score.total,
        "parsable": float(answer.code is not None),
        "prediction": answer.code or "",
        "gold": ground_truth,
        "note_id": str(given.get("note_id", "")),
        "patient_id": str(given.get("patient_id", "")),
    }
    for name, value in score.parts.items():
        result[f"reward_{name}"] = value
        result[f"weighted_{name}"] = score.weights[name] * value
    return result


@lru_cache(maxsize=16)
def _reward(preset: str, weights: str, hierarchy_curve: float) -> Reward:
    return build_reward(preset, json.loads(weights), hierarchy_curve=hierarchy_curve)
