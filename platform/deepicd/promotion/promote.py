"""A registered candidate, judged and, if it wins, made champion.

In: a registry, a version, and an examination of it and of the champion on the promotion split. Out:
the gate's Decision, recorded in the registry's history either way. Decided here: the alias moves
only from the champion that the candidate was compared with; if another promoter was faster, nothing
changes and the caller judges again. Every comparison on a promotion split is counted in the
registry, and each further one on the same notes is held to more (`gate.confidence_of`).
"""

import hashlib
from collections.abc import Mapping, Sequence

from deepicd.config import PromotionConfig
from deepicd.errors import DataError
from deepicd.promotion.gate import gate
from deepicd.promotion.registry import CHAMPION, Registry
from deepicd.records import Decision, Examination, Prediction


def promote_candidate(
    registry: Registry,
    name: str,
    *,
    examinations: Mapping[str, Examination],
    config: PromotionConfig,
    seed: int,
    num_candidates: int = 1,
) -> Decision:
    """Judge a version against the champion and move the alias if it is accepted.

    `examinations` maps version names to what is known of them on the promotion split; the candidate
    and the present champion must be in it (the candidate alone while nobody is champion).

    Raises:
        DataError: that of either is missing, or was not made on the same notes.
        PromotionError: it is champion already, or the champion changed meanwhile.
        CheckpointError: the candidate's files are damaged.
    """
    version = registry.verify(name).name
    champion = registry.aliases().get(CHAMPION)
    for needed in (version, champion):
        if needed is not None and needed not in examinations:
            raise DataError(
                f"no predictions of {needed} among {', '.join(examinations) or 'none'}; predict it "
                "on the promotion split too."
            )
    split = split_digest(examinations[version].predictions)
    decision = gate(
        examinations[version],
        None if champion is None else examinations[champion],
        config=config,
        seed=seed,
        num_candidates=num_candidates,
        num_uses=registry.count_uses(split) + 1,
    )
    registry.record_decision(version, champion, decision, split=split)
    if decision.accepted:
        registry.promote(version, reason="won at the gate", expected=champion)
    return decision


def split_digest(predictions: Sequence[Prediction]) -> str:
    """What tells one promotion split from another: SHA-256 over its note ids and gold codes, in any
    order.
    """
    lines = sorted(f"{row.note_id}\t{row.gold}\n" for row in predictions)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
