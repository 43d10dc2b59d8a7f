"""From a run's best trials to the champion: lineage, registry, gate.

stage       the stage of a run: the best trials against the present champion
contestant  a model of a run, as it is registered and judged
lineage     where it comes from
by_hand     the same from the command line, and models that come from no run
"""

from deepicd.pipeline.promotion.stage import check_champion, promote

__all__ = ["check_champion", "promote"]
