"""What is known of a version → its model card (README.md), from records only.

In: lineage, scores, calibration and, of a version that a run made, `card` (context, data, base
model, subgroups, limits, as `pipeline.context` gathers them). Out: Markdown with Hugging Face's
front matter.
Decided here: nothing is written by hand, and what is not recorded is said to be so. No note and no
patient identifier is in it. The snippet needs transformers alone and asks as evaluation does:
greedily, with the same prompt; tests run it as it stands on the card.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deepicd.promotion.lineage import describe_lineage, read_lineage
from deepicd.prompts import END_OF_TURN, SYSTEM_PROMPT, THINK_PREFILL
from deepicd.prompts.render import START_OF_TURN
from deepicd.scoring import mark_few

_TAGS = "[clinical-nlp, medical-coding, icd-10-cm, reasoning, grpo]"

_USE = """## Intended use

Research on predicting the principal ICD-10-CM diagnosis of an admission from its admission note.
The model answers with `<think>reasoning</think>` and `<diagnosis>CODE</diagnosis>`.

**Research only, never clinical decisions**: not for diagnosis, triage, treatment or billing, and
not a medical device. Reasoning can sound convincing and be wrong; a person must check every code.
"""

_MAIN = "hierarchical_f1"
# The default of `training.max_response_tokens`.
_NO_LIMITS = {"max_response_tokens": 1024}

_ETHICS = """## Ethics

- A wrong code looks like a right one. People follow machines too readily (automation bias): show
  the model's answer to nobody who would act on it.
- The label is the first-listed billing code. It follows what is paid as well as what is true, and
  the model learns both.
- Groups of patients are coded, admitted and written about differently. The model repeats it; the
  table of groups shows sizes and gaps, not their causes.
- Weights can hold text of the notes they were trained on. Handle them as the notes are handled.
"""

# Its `replace` is that of `prompts.render`: no note may write a special token.
_SNIPPET = """from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

folder = Path()  # where this card lies
note = "CHIEF COMPLAINT: chest pain"

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
system = {system!r}
text = note.strip().replace("<|", "< |")
prompt = (
    f"{start}system\\n{{system}}{end}\\n{start}user\\n{{text}}{end}\\n{start}assistant\\n{prefill}"
)
ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
greedy = GenerationConfig(
    max_new_tokens={max_tokens},
    do_sample=False,
    eos_token_id=tokenizer.convert_tokens_to_ids("{end}"),
    pad_token_id=tokenizer.pad_token_id,
)
answer = model.generate(ids, generation_config=greedy)[0, ids.shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
"""


def model_card(version: str, facts: Mapping[str, Any]) -> str:
    """Markdown card of one version.

    `facts` holds `created`, `lineage` and `scores`; with a calibration also `calibration` (its
    errors) and `calibrated_levels`, of a run's version also `card` (`pipeline.context.card_facts`).
    """
    card = facts.get("card", {})
    sections = [
        f"{_front(card)}\n# {version}\n",
        _USE,
        f"## How to use it\n\n```python\n{usage_snippet(card)}```\n",
        "## Scores in context\n\n" + _context(card.get("context", ())),
        *([f"### Trials\n\n{_trials(card['trials'])}"] if card.get("trials") else []),
        "## Groups of patients\n\n" + _groups(card.get("subgroups", ())),
        "## Confidence\n\n"
        + _confidence(facts.get("calibration", {}), facts.get("calibrated_levels", ())),
        "## Data and splits\n\n" + _data(card.get("data")),
        "## Base model\n\n" + _base_model(card.get("base_model")),
        "## Limits\n\n" + _limits(card),
        _ETHICS,
        "## Licence\n\n" + _bullets(card.get("licence", ())),
        "## All scores\n\n" + _table(facts["scores"], "none recorded"),
        "## Where it comes from\n\n"
        + _rows(("", ""), describe_lineage(read_lineage(facts["lineage"]))),
        f"## Identity\n\nRegistered {facts['created']}. The SHA-256 of every file is in "
        "`manifest.json` and is checked before the version is promoted or served.\n",
    ]
    return "\n".join(sections)


def usage_snippet(card: Mapping[str, Any]) -> str:
    """Python that answers one note with transformers alone, run in the version's folder."""
    limits = card.get("limits", _NO_LIMITS)
    # An escaped newline stays one in the snippet's own text.
    prefill = THINK_PREFILL.replace("\n", "\\n")
    return _SNIPPET.format(
        system=SYSTEM_PROMPT,
        start=START_OF_TURN,
        end=END_OF_TURN,
        prefill=prefill,
        max_tokens=limits["max_response_tokens"],
    )


def _front(card: Mapping[str, Any]) -> str:
    base = card.get("base_model") or {}
    licence = f"license: {base['licence']}\n" if base.get("licence") else ""
    return (
        f"---\nlanguage: [en]\n{licence}library_name: transformers\n"
        f"pipeline_tag: text-generation\ntags: {_TAGS}\n---\n"
    )


def _context(rows: Sequence[Mapping[str, Any]]) -> str:
    """Who answered the same notes, and how this model compares with each."""
    if not rows:
        return "Nothing else is recorded that answered the same notes.\n"
    head = ("", "notes", "hierarchical F1", "this model, on the same notes", "what it is")
    lines = [
        (
            f"**{row['title']}**" if row["is_model"] else row["title"],
            str(row["num_notes"]),
            _interval(row["scores"], _MAIN, (f"{_MAIN}_low", f"{_MAIN}_high")),
            row["paired"]["verdict"] if row["paired"] else "",
            row["what"],
        )
        for row in rows
    ]
    text = (
        f"On the {rows[0]['split']} split, with 95% bootstrap intervals by patient. Differences "
        "are paired: both answered the same notes.\n\n"
    )
    return text + _rows(head, lines)


def _trials(rows: Sequence[Mapping[str, Any]]) -> str:
    """The trials that a winner was chosen among."""
    head = ("trial", "state", "steps", "hierarchical F1 (validation split)")
    lines = [
        (
            row["trial"],
            row["state"],
            str(row["steps"]),
            _interval(row["scores"], _MAIN, (f"{_MAIN}_low", f"{_MAIN}_high")),
        )
        for row in rows
    ]
    return f"The best trials of the sweep that it comes from.\n\n{_rows(head, lines)}"


def _groups(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "Not recorded: no group of the test split has 30 notes, or no group is known.\n"
    head = ("", "group", "notes", "patients", "hierarchical F1", "gap to the others")
    lines = [
        (
            row["attribute"],
            row["group"],
            str(row["num_notes"]),
            str(row["num_patients"]),
            _interval(row, _MAIN, ("low", "high")),
            _interval(row, "gap", ("gap_low", "gap_high")),
        )
        for row in rows
    ]
    text = (
        "On the test split, with 95% intervals. Groups with fewer than 30 notes are left out. The "
        "groups have other diseases too, so a gap is a reason to look and no verdict.\n\n"
    )
    return text + _rows(head, lines)


def _interval(values: Mapping[str, Any], name: str, ends: tuple[str, str]) -> str:
    if values.get(name) is None:
        return "–"
    low, high = (values.get(end) for end in ends)
    prefix = "gap_" if name == "gap" else ""
    known = (
        "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]{mark_few(values, prefix)}"
    )
    return f"{values[name]:.3f}{known}"


def _data(data: Mapping[str, Any] | None) -> str:
    if not data:
        return "Not recorded.\n"
    head = ("split", "notes", "patients", "labels")
    lines = [
        (name, *(str(counts[key]) for key in ("num_notes", "num_patients", "num_labels")))
        for name, counts in data["splits"].items()
    ]
    return f"{_bullets(data['facts'])}\n{_rows(head, lines)}"


def _base_model(base: Mapping[str, Any] | None) -> str:
    return _bullets(base["facts"]) if base else "Not recorded.\n"


def _limits(card: Mapping[str, Any]) -> str:
    own: Sequence[str] = card.get("limitations", ())
    return _bullets(
        [
            *own,
            "English admission notes of one kind of hospital; nothing is known of others.",
            "The label is a billing code, a noisy target: a perfect score is not possible.",
            "A code that training did not show can hardly be answered.",
        ]
    )


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


def _bullets(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines) or "Not recorded.\n"


def _rows(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rule = "|".join(["---"] * len(head))
    rows = "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)
    return f"| {' | '.join(head)} |\n|{rule}|\n{rows}"


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
