"""Ask a Ray cluster of two nodes for paths; a program of `test_storage.py`.

    python unshared_path.py FOLDER

Two raylets on this machine. The first is started in FOLDER/first, the second and the driver in
FOLDER/second, so that a path through `/proc/self/cwd` is another folder on each of them, as an
unshared disk is. Prints what `check_storage` says of a shared and of an unshared folder.
"""

import logging
import os
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from deepicd.clusters import storage
from deepicd.errors import CapacityError


def main(folder: Path) -> None:
    """Start both nodes, ask twice, end them."""
    first, second = folder / "first", folder / "second"
    for node in (first, second):
        node.mkdir()
    os.chdir(first)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    os.chdir(second)
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    storage._PATIENCE_S = 1.0
    # The driver's node is the first one; the one that is asked is started where the driver is now.
    os.chdir(first)
    for path in (folder, Path("/proc/self/cwd")):
        try:
            storage.check_storage(path)
            print("seen")
        except CapacityError as error:
            print(error)
    print(sorted(found.name for node in (folder, first, second) for found in node.glob(".seen-*")))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
