"""Why an answer has its score, in plain sentences.

In: answer, gold code and score. Out: lines of text: the two tree paths side by side with the node
where they part, the faults of the answer, and each component with its weight. No text of the answer
but its code is repeated.
"""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from deepicd import codes
from deepicd.answers import parse_answer
from deepicd.records import Answer, Score
from deepicd.rewards.composite import build_reward, check_gold

FAULT_TEXTS = {
    "empty": "there is no text",
    "truncated": "the text ends inside a block",
    "no_diagnosis": "there is no complete <diagnosis> block after the reasoning",
    "several_diagnoses": "there are several <diagnosis> blocks",
    "nested_diagnosis": "a <diagnosis> block stands inside the reasoning or inside another one",
    "unclosed_diagnosis": "a <diagnosis> block is not closed before the next tag",
    "not_a_code": "what stands in the <diagnosis> block is not one ICD-10-CM code",
    "unknown_code": "the code does not exist in any release known here",
    "not_billable": "the code is a header: codes below it are billable, it is not",
    "stray_tag": "a closing tag stands without its opening tag",
    "several_thinks": "there are several reasoning blocks",
    "nested_think": "a reasoning block stands inside another one",
    "missing_think": "there is no complete reasoning block before the diagnosis",
    "empty_think": "the reasoning is empty",
    "text_outside": "text stands outside the two blocks",
}
"""Fault (`answers.FAULTS`) → what it means."""


@dataclass(frozen=True)
class Explanation:
    """A model text, parsed and scored, and why it has that score."""

    gold: str
    answer: Answer
    score: Score

    @property
    def lines(self) -> list[str]:
        """Everything, for a person."""
        return _explain_score(self.answer, self.gold, self.score)

    @property
    def summary(self) -> list[str]:
        """Components and total alone."""
        return [line for line in self.lines if line.startswith(("reward", "total"))]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return {
            "total": self.score.total,
            "parts": dict(self.score.components),
            "weights": dict(self.score.weights),
            "gold": self.gold,
            "code": self.answer.code,
            "reason": self.answer.reason,
            "faults": list(self.answer.faults),
            "explanation": self.lines,
        }


def score_text(
    text: str,
    gold: str,
    *,
    preset: str = "default",
    hierarchy_curve: float = 1.0,
    note: str | None = None,
) -> Explanation:
    """Parse and score one model text; a leading `<think>` may be there or not.

    Raises:
        ConfigError: unknown preset, or a curve that is not above 0.
        CodeError: the gold label is not a billable code.
    """
    reward = build_reward(preset, hierarchy_curve=hierarchy_curve)
    answer = parse_answer(text, is_prefilled=not text.lstrip().startswith("<think>"))
    label = check_gold(gold)
    return Explanation(gold=label, answer=answer, score=reward(answer, label, note))


def _explain_score(answer: Answer, gold: str, score: Score) -> list[str]:
    """Lines for a person.

    Raises:
        CodeError: the gold code does not exist.
    """
    lines = [f"gold    {codes.dotted(gold)}  {codes.title(gold)}"]
    lines.append(_describe_answer(answer))
    lines += [f"fault   {fault}: {FAULT_TEXTS[fault]}" for fault in answer.faults]
    if answer.code is not None:
        lines += compare_paths(answer.code, gold)
    for name, value in score.components.items():
        weight = score.weights[name]
        lines.append(f"reward  {name}: {value:.4g} x {weight:.4g} = {value * weight:.4g}")
    return [*lines, f"total   {score.total:.4g}"]


def compare_paths(code: str, gold: str) -> list[str]:
    """One line a node of the longer path, chapter first, marked `=` where both agree.

    Raises:
        CodeError: one of the codes does not exist.
    """
    answer_path, gold_path = codes.path(codes.normalise(code)), codes.path(codes.normalise(gold))
    depth = codes.shared_depth(answer_path, gold_path)
    lines = []
    for index, (node, gold_node) in enumerate(zip_longest(answer_path, gold_path, fillvalue="")):
        mark = "=" if index < depth else " "
        title = codes.title(node or gold_node)
        lines.append(f"path  {mark} {node or '(nothing)':10} {gold_node or '(nothing)':10} {title}")
    return [*lines, f"path    {depth} of {len(gold_path)} nodes of the gold path are right"]


def _describe_answer(answer: Answer) -> str:
    if answer.code is None:
        return f"answer  no usable code ({answer.reason})"
    return f"answer  {codes.dotted(answer.code)}  {codes.title(answer.code)}"
