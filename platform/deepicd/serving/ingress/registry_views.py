"""What the registry and its run tell about the version that is served: decisions and rollouts.

In: a registry, a version, and the files that verl wrote in its trial's folder where
`training.keep_rollouts` was set. Out: some rollouts of the latest step, JSON-ready. Decided here:
prompts are shown only where the endpoint was told so, because they hold the note; a version without
a trial, a trial that kept nothing, or one of another machine, has none, and that is no error.
"""

import json
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from deepicd.answers import parse_answer
from deepicd.errors import PromotionError
from deepicd.paths import rollouts_folder
from deepicd.promotion.remote_registry import open_registry

_NUM_DECISIONS = 20
"""Latest events that are shown."""

logger = logging.getLogger("deepicd.serving")

NUM_ROLLOUTS = 16
"""Rollouts that are shown."""


def read_rollouts(registry: str | Path, version: str, *, has_prompts: bool) -> dict[str, Any]:
    """`version`, `trial`, `step` and `rollouts`; trial and step are None where there are none.

    Raises:
        MissingError: no such version.
        PromotionError: the registry cannot be read.
    """
    origin = open_registry(registry).get(version).origin
    trial = origin.trial or None
    view: dict[str, Any] = {"version": version, "trial": trial, "step": None, "rollouts": []}
    if trial is None or origin.checkpoint is None:
        return view
    # The run may be another's than the registry lies in: the checkpoint says where its trial wrote.
    folder = rollouts_folder(Path(origin.checkpoint.path).parent)
    # By number: as text, 10 comes before 9.
    steps = sorted(folder.glob("*.jsonl"), key=lambda file: int(file.stem))
    if steps:
        view["step"] = int(steps[-1].stem)
        rows = islice(_rows(steps[-1]), NUM_ROLLOUTS)
        view["rollouts"] = [_describe(row, has_prompts=has_prompts) for row in rows]
    return view


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _describe(row: dict[str, Any], *, has_prompts: bool) -> dict[str, Any]:
    answer = parse_answer(row["output"], is_prefilled=True)
    shown = {
        "gold": row["gts"],
        "code": answer.code,
        "reason": answer.reason,
        "score": row["score"],
        "response": row["output"],
    }
    return {**shown, "prompt": row["input"]} if has_prompts else shown


def read_decisions(registry: str | Path | None) -> list[dict[str, Any]]:
    """The latest events of a registry, newest first; none without one, or while it cannot be read:
    it must not cost the view of everything else.
    """
    if registry is None:
        return []
    try:
        events = open_registry(registry).events()
    except (PromotionError, OSError) as error:
        logger.error("the registry cannot be read: %s", type(error).__name__)
        return []
    return [
        {
            "number": event.number,
            "time": event.time,
            "kind": event.kind,
            "version": event.version,
            "reason": event.details.get("reason") or "; ".join(event.details.get("reasons", ())),
        }
        for event in reversed(events[-_NUM_DECISIONS:])
    ]
