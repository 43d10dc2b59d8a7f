"""Lineage and scores of a version → its model card (README.md), from records only.

In: what the registry knows. Out: Markdown with Hugging Face's front matter. Nothing is written by
hand and no note or patient identifier is in it, so a card can be shown wherever the weights may be.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_FRONT = """---
language: [en]
library_name: transformers
pipeline_tag: text-generation
tags: [clinical-nlp, medical-coding, icd-10-cm, reasoning, grpo]
---
"""

_USE = """## Intended use

Research on predicting the principal ICD-10-CM diagnosis of an admission from its admission note.
The model answers with `<think>reasoning</think>` and `<diagnosis>CODE</diagnosis>`.

**Not** for diagnosis, clinical decisions, triage or billing. Reasoning can sound convincing and be
wrong; a person must check every code. The label is the first-listed billing code, a noisy target.
"""


def model_card(version: str, facts: Mapping[str, Any]) -> str:
    """Markdown card of one version. `facts` holds `created`, `lineage` and `scores`, with a
    calibration also `calibration`, its errors, and `calibrated_levels`.
    """
    sections = [
        f"{_FRONT}\n# {version}\n",
        _USE,
        "## Scores\n\n" + _table(facts["scores"], "none recorded"),
        "## Confidence\n\n"
        + _confidence(facts.get("calibration", {}), facts.get("calibrated_levels", ())),
        "## Where it comes from\n\n" + _table(facts["lineage"], "not recorded"),
        f"## Identity\n\nRegistered {facts['created']}. The SHA-256 of every file is in "
        "`manifest.json` and is checked before the version is promoted or served.\n",
    ]
    return "\n".join(sections)


def _confidence(errors: Mapping[str, float], levels: Sequence[str]) -> str:
    if not errors:
        return "Not calibrated: the share of agreeing answers is no probability.\n"
    used = f"Used for: {', '.join(levels)}." if levels else "Used for none of them."
    text = (
        "Calibrated on the validation split (`calibration.json`), where that is better than the "
        f"bare share of agreeing answers. {used} Expected calibration error, each "
        "answer left out of its own fit; `_raw` is that of the bare share of agreeing answers:\n\n"
    )
    return text + _table(errors, "")


def _table(values: Mapping[str, Any], empty: str) -> str:
    if not values:
        return f"{empty}\n"
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in sorted(values.items()))
    return f"| | |\n|---|---|\n{rows}\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text.replace("|", "\\|").replace("\n", " ")
