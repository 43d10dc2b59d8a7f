"""The latest events of a registry, for whoever watches the endpoint.

In: a registry's folder. Out: rows, JSON-ready.
"""

import logging
from pathlib import Path
from typing import Any

from deepicd.errors import PromotionError
from deepicd.promotion.remote_registry import open_registry

NUM_DECISIONS = 20
"""Latest events that are shown."""

logger = logging.getLogger("deepicd.serving")


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
        for event in reversed(events[-NUM_DECISIONS:])
    ]
