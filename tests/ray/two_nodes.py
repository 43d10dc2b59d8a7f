"""Tokenise a split on a Ray cluster of two nodes; a program of `test_tokens.py`.

    python two_nodes.py MODEL SPLIT FOLDER

Two raylets on this machine, one CPU each, joined by one GCS, as on two machines. Every range
of row groups that is tokenised leaves a file in FOLDER/NODE; prints the ids that came out, as JSON.
"""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import ray
from ray.cluster_utils import Cluster

from deepicd import tokens
from deepicd.prompts import PromptEncoder
from deepicd.records import Limits

read_row_groups = tokens.read_row_groups


def main(model: Path, split: Path, folder: Path) -> None:
    """Start both nodes, stream the split once, end them."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)

    def noted(ranges: pa.Table, **values: Any) -> Iterator[pa.Table]:
        node = folder / ray.get_runtime_context().get_node_id()
        node.mkdir(parents=True, exist_ok=True)
        (node / uuid4().hex).touch()
        yield from read_row_groups(ranges, **values)

    tokens.read_row_groups = noted
    tokens._ROWS_PER_TASK = 1000  # ranges enough for two
    encoder = PromptEncoder.of_model(model, Limits(200, 16, "filter"))
    batches = tokens.stream_prompts(split, encoder=encoder).iter_batches(batch_format="pyarrow")
    rows = [row for batch in batches for row in batch.to_pylist()]
    print(json.dumps([[row["note_id"], row["token_ids"]] for row in rows]))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
