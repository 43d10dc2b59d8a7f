"""One note's answers → the typed reply: code, confidence, evidence, alternatives.

In: a `Generation`, the request, the note. Out: `Diagnosis`. Decided here: the greedy answer is the
reply; the samples only say how sure it is. Confidence is the share of all answers, greedy one
included, that name the same node, turned into a probability where the level is calibrated.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepicd import codes, scoring
from deepicd.answers import parse_answer
from deepicd.records import Answer, Calibration
from deepicd.serving.ingress.evidence import find_evidence
from deepicd.serving.ingress.schemas import (
    NUM_TOP,
    Agreed,
    Candidate,
    Diagnosis,
    DiagnosisRequest,
    Evidence,
    Level,
    Usage,
)
from deepicd.serving.protocol import Generation


def build_diagnosis(
    generation: Generation,
    request: DiagnosisRequest,
    note: str,
    *,
    prediction_id: str,
) -> Diagnosis:
    """Reply to one note of a request from the model's answers to it."""
    answer = parse_answer(generation.text, is_prefilled=True)
    sampled = [parse_answer(text, is_prefilled=True).code for text in generation.samples]
    named = [answer.code, *sampled]
    agreement = scoring.agreement(answer.code, sampled) if answer.code and sampled else None
    calibration = generation.calibration
    return Diagnosis(
        prediction_id=prediction_id,
        model_version=generation.version,
        parsable=answer.code is not None,
        reason=answer.reason,
        **_describe(answer),
        confidence=_confidence(agreement, "code", calibration),
        is_calibrated=agreement is not None and scoring.is_calibrated(calibration, "code"),
        confidence_chapter=_confidence(agreement, "chapter", calibration),
        is_chapter_calibrated=agreement is not None
        and scoring.is_calibrated(calibration, "chapter"),
        top_k=[
            Candidate(code=code, title=codes.title(code), share=share)
            for code, share in list(scoring.count_shares(named).items())[:NUM_TOP]
        ],
        agreed=majority_vote(named, request.min_confidence, calibration)
        if request.min_confidence
        else None,
        reasoning=answer.think if request.include_reasoning else None,
        evidence=_evidence(answer.think, note) if request.include_evidence else None,
        is_truncated=generation.is_truncated,
        is_note_cut=generation.is_note_cut,
        usage=Usage(
            prompt_tokens=len(generation.prompt_token_ids),
            completion_tokens=generation.num_completion_tokens,
        ),
        prompt_token_ids=list(generation.prompt_token_ids) if request.include_token_ids else None,
    )


def _confidence(
    agreement: Mapping[str, float] | None, level: Level, calibration: Calibration | None
) -> float | None:
    return (
        None if agreement is None else calibrated_confidence(agreement[level], level, calibration)
    )


def calibrated_confidence(share: float, level: Level, calibration: Calibration | None) -> float:
    """Probability of a node at which that share of the answers agree, or the share itself where the
    level is not calibrated.
    """
    if calibration is None or level not in calibration.curves:
        return share
    return scoring.calibrate(calibration.curves[level], share)


def majority_vote(
    named: Sequence[str | None], min_confidence: float, calibration: Calibration | None = None
) -> Agreed:
    """The most frequent node of the deepest level at which its confidence is high enough.

    A code counts for every node above it; of equally frequent nodes the first by name is taken.
    """
    for level, above in scoring.AGREEMENT_LEVELS.items():
        nodes = [None if code is None else above(code) for code in named]
        node, share = next(iter(scoring.count_shares(nodes).items()), (None, 0.0))
        if (
            node is not None
            and (confidence := calibrated_confidence(share, level, calibration)) >= min_confidence
        ):
            return Agreed(
                level=level,
                node=node,
                title=codes.title(node),
                share=share,
                confidence=confidence,
                is_calibrated=scoring.is_calibrated(calibration, level),
            )
    return Agreed(level=None, node=None, title=None, share=None)


def _evidence(reasoning: str | None, note: str) -> list[Evidence]:
    spans = find_evidence(reasoning or "", note)
    return [Evidence(text=note[start:end], start=start, end=end) for start, end in spans]


def _describe(answer: Answer) -> dict[str, Any]:
    code = answer.code
    raw = answer.raw_code
    facts: dict[str, Any] = {
        "code": code,
        "raw_code": raw,
        "exists": raw is not None and codes.exists(raw),
        "billable": raw is not None and codes.is_billable(raw),
    }
    named: dict[str, Callable[[str], Any]] = {
        "code_dotted": codes.dotted,
        "title": codes.title,
        "category": codes.category,
        "block": codes.block,
        "chapter": codes.chapter,
        "chapter_title": codes.chapter_title,
        "path": codes.path,
        "release": lambda code: codes.billable_releases(code)[-1],
    }
    return facts | {name: None if code is None else find(code) for name, find in named.items()}
