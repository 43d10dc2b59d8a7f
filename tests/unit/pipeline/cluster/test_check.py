"""`deepicd cluster check` and `render`: house rules, prices, regions; files that are there."""

from pathlib import Path

import pytest
import yaml

from deepicd.errors import ConfigError, MissingError
from deepicd.pipeline.cluster.check import check_cluster
from deepicd.pipeline.cluster.rendering import render_cluster

FOLDER = Path(__file__).parents[4] / "cluster"
DESCRIPTIONS = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def _write(name, place, value):
        table = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        *parents, last = place.split(".")
        part = table
        for parent in parents:
            part = part[int(parent) if isinstance(part, list) else parent]
        part[last] = value
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(table))
        return path

    return _write


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_every_description_in_the_repository_passes(path):
    check_cluster(path)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("image", "registry.example.org/deepicd:latest", "image: .*without this version"),
        ("image", "registry.example.org/deepicd:0.1.01", "image: .*without this version"),
        ("place.region", "eu-north-1", r"place\.region: region eu-north-1 has no p5\.48xlarge"),
        ("workers.0.instance", "p5.4xlarge", r"workers\.0\.instance: p5\.4xlarge is no machine"),
        ("workers.0.gpus", 4, r"workers\.0\.gpus: 4 x H100-80GB are written.* 8 x H100-80GB"),
        ("workers.0.gpu", "H300", r"workers\.0\.gpus: 8 x H300 are written"),
    ],
)
def test_what_the_cloud_would_refuse_is_refused_before(write, place, value, words):
    with pytest.raises(ConfigError, match=rf"(?s)cannot be launched:.*{words}"):
        check_cluster(write("aws", place, value))


def test_a_gpu_without_price_or_memory_is_refused_unless_the_file_says_both(write):
    own = {"name": "w", "min": 2, "max": 2, "cpus": 32, "gpus": 4, "gpu": "B999"}
    own |= {"memory_gib": 256, "gpu_memory_gib": 96}
    path = write("onprem", "workers", [own])
    path.write_text(path.read_text().replace("profile: cpu", "profile: gpu"))
    with pytest.raises(ConfigError, match=r"workers\.0\.gpu: .*'B999' has no price or no memory"):
        check_cluster(path)
    table = yaml.safe_load(path.read_text())
    table["workers"][0]["usd_per_gpu_hour"] = 0
    path.write_text(yaml.safe_dump(table))
    check_cluster(path)


def test_a_file_that_says_something_else_is_replaced_with_yes_alone(tmp_path):
    source, out = FOLDER / "aws.yaml", tmp_path / "out"
    files = render_cluster(source, out, may_replace=False)
    first = {name: (out / name).read_bytes() for name in files}
    assert render_cluster(source, out, may_replace=False) == files
    (out / files[0]).write_text("mine")
    with pytest.raises(ConfigError, match=r"exists, and would be replaced; give --yes"):
        render_cluster(source, out, may_replace=False)
    assert (out / files[0]).read_text() == "mine"
    render_cluster(source, out, may_replace=True)
    assert {name: (out / name).read_bytes() for name in files} == first


def test_a_description_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingError, match="no cluster description"):
        check_cluster(tmp_path / "none.yaml")
