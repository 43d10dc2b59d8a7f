"""Storage that a sweep writes to and its trials read from: one that every node sees.

In: a folder and paths. Out: nothing, or a refusal that names the node and the path. A marker file
that the driver writes is looked for by a task on every other node of the Ray cluster: a folder of
the same name there is not the same folder.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deepicd.errors import CapacityError

_PATIENCE_S = 10.0
"""A network file system may show a new file late."""
_ANSWER_TIMEOUT_S = 120.0
_POLL_S = 0.5


def check_storage(folder: Path, others: Sequence[Path] = ()) -> None:
    """Look from every node for a file just written to `folder`, and for `others`.

    Ray must be initialised; an empty cluster of one node is not asked.

    Raises:
        CapacityError: a node does not see one of them, or does not answer.
    """
    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    if not nodes:
        return
    marker = folder / f".seen-{uuid4().hex}"
    marker.touch()
    try:
        _ask(nodes, [marker, *others])
    finally:
        marker.unlink()


def _ask(nodes: Sequence[Mapping[str, Any]], paths: Sequence[Path]) -> None:
    # No CPUs: a node all of whose CPUs are taken must answer too.
    look = ray.remote(num_cpus=0, max_retries=0)(_find_missing)
    names = [str(path) for path in paths]
    answers = {
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(names, _PATIENCE_S): node
        for node in nodes
    }
    ready, silent = ray.wait(list(answers), num_returns=len(answers), timeout=_ANSWER_TIMEOUT_S)
    for answer in ready:
        for missing in ray.get(answer):
            path = Path(missing)
            raise CapacityError(
                f"node {_name(answers[answer])} of the Ray cluster does not see "
                f"{path.parent if path.name.startswith('.seen-') else path}; every node needs it: "
                "put the runs (--runs DIR) and the model on storage that all of them share"
            )
    for answer in silent:
        raise CapacityError(
            f"node {_name(answers[answer])} of the Ray cluster did not say within "
            f"{_ANSWER_TIMEOUT_S:.0f} s whether it sees {paths[0].parent}; `ray status` shows its "
            "state"
        )


def _find_missing(paths: Sequence[str], patience_s: float) -> list[str]:
    """Paths that are not there, even after some patience."""
    deadline = time.monotonic() + patience_s
    while (left := [path for path in paths if not Path(path).exists()]) and (
        time.monotonic() < deadline
    ):
        time.sleep(_POLL_S)
    return left


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
