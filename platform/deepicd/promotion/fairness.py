"""Whether a candidate and a champion can be compared, and what has to be said where they are. Pure.

In: two lineages, and the lists of patients that the two were trained on. Out: an error that names
what differs, or remarks, and the notes that both may be judged on. Decided here:

- Another ICD-10-CM table means other labels: not compared.
- Other limits of prompt and answer: not compared. An endpoint that follows a registry answers under
  one set of limits, so a version that was judged under others would be served as it was not judged.
- Another source of notes: not compared, since its patients go by other identifiers and nobody can
  tell whether the champion was trained on patients of this promotion split.
- What was not recorded (a version registered by hand) is taken to be the same, and said to be
  unknown.
- Answers about patients that either was trained on are left out.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from deepicd.config import flatten
from deepicd.errors import PromotionError
from deepicd.promotion.lineage import Lineage
from deepicd.promotion.patients import PatientList
from deepicd.records import Examination, Limits


@dataclass(frozen=True)
class Contender:
    """What is known of one side of a comparison beside its answers."""

    name: str
    """Of the version."""
    origin: Lineage
    patients: PatientList | None
    """Those that it was trained on; None where nobody knows."""


def refuse_unfair(candidate: Contender, champion: Contender) -> None:
    """Raise PromotionError where the two cannot be compared."""
    differences = find_differences(candidate.origin, champion.origin)
    if differences:
        raise PromotionError(
            f"{candidate.name} cannot be compared with the champion {champion.name}: "
            f"{'; '.join(differences)}. Train with what the champion has, take a registry of its "
            "own (promotion.registry; of a run that has ended: deepicd promote RUN --registry DIR),"
            f" or move the alias without a comparison (deepicd promote {candidate.name} --force)."
        )


def find_differences(candidate: Lineage, champion: Lineage) -> list[str]:
    """What two models must have in common to be compared, and have not."""
    return [
        f"{what} {theirs} of the champion and {ours} of the candidate"
        for what, theirs, ours in _conditions(champion, candidate)
        if theirs and ours and theirs != ours
    ]


def find_remarks(candidate: Contender, champion: Contender) -> list[str]:
    """What has to be said about a comparison that is made."""
    remarks = []
    for each in (candidate, champion):
        if each.patients is None:
            remarks.append(
                f"unknown: nobody recorded which patients {each.name} was trained on, so some of "
                "the promotion split may be among them"
            )
        lacking = [what for what, value, _ in _conditions(each.origin, each.origin) if not value]
        if lacking:
            remarks.append(
                f"unknown: nobody recorded the {', '.join(lacking)} of {each.name}; taken to be "
                "those of this comparison"
            )
    remarks += _compare_settings(candidate, champion)
    return remarks


def leave_out_patients(examination: Examination, patients: Collection[str]) -> Examination:
    """The examination without the answers about these patients."""
    kept = [row for row in examination.predictions if row.patient_id not in patients]
    return replace(examination, predictions=kept)


def _conditions(first: Lineage, second: Lineage) -> list[tuple[str, str, str]]:
    """What must be the same: its name, the first's, the second's; empty where it is not known."""
    return [
        ("ICD-10-CM table", first.code_table, second.code_table),
        ("source of notes", first.source, second.source),
        ("limits", _limits(first.limits), _limits(second.limits)),
    ]


def _limits(limits: Limits | None) -> str:
    if limits is None:
        return ""
    return (
        f"data.max_prompt_tokens = {limits.max_prompt_tokens}, "
        f"training.max_response_tokens = {limits.max_response_tokens}, "
        f"data.overlong = {limits.overlong}"
    )


def _compare_settings(candidate: Contender, champion: Contender) -> list[str]:
    """Other notes of the same source: fair, since both answer the same split, and worth a word."""
    ours, theirs = (_describe_data(each.origin) for each in (candidate, champion))
    if not ours or not theirs:
        return []
    differences = [
        f"{name} was {theirs.get(name)} for it and {ours.get(name)} for {candidate.name}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    if not differences:
        return []
    return [f"note: {champion.name} was trained on other notes: {'; '.join(differences)}"]


def _describe_data(lineage: Lineage) -> dict[str, object]:
    """Address in an experiment → the value that the notes were built with."""
    settings = lineage.data.get("settings")
    flat = flatten({"data": settings}) if isinstance(settings, dict) else {}
    return {**flat, "data.split_seed": lineage.data.get("seed")} if flat else {}
