"""What each stage reads of an experiment, found in its source, is in its identity."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from note_rows import note_of
from pydantic import BaseModel

from deepicd.config import DataConfig, Experiment, flatten, known_addresses, parse_experiment
from deepicd.notes import identity
from deepicd.notes.split_files import write_split
from deepicd.paths import RunPaths
from deepicd.pipeline import stages
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import Seal
from deepicd.pipeline.stage import INEFFECTIVE, PATIENCE, STAGES, identify

# Modules, or functions of them, that do a stage's work.
SCORING = (
    *("pipeline/stages.py:score_start", "pipeline/stages.py:score_model"),
    *("pipeline/stages.py:_score_majority", "pipeline/stages.py:sampling_of"),
    *("pipeline/stages.py:score", "pipeline/context/entries.py", "inference/*.py"),
    *("promotion/examine.py", "evaluation.py", "tokens.py"),
)
WORK = {
    "model": ("pipeline/stages.py:_build_model", "training/start_model.py"),
    "sft": (
        *("pipeline/stages.py:_fit_start_model", "training/sft/*.py"),
        *("training/verl_settings.py", "pipeline/context/entries.py:base_model"),
    ),
    "baselines": SCORING,
    "sweep": (
        *("pipeline/stages.py:_sweep", "sweeps/run.py", "sweeps/schedulers.py"),
        *("sweeps/search/*.py", "sweeps/callbacks/*.py", "training/grpo/*.py"),
        *("training/process/*.py", "training/checkpoints/*.py", "training/verl_settings.py"),
    ),
    "evaluation": (*SCORING, "pipeline/candidates.py"),
    "promotion": ("pipeline/promotion/stage.py", "pipeline/promotion/contestant.py"),
    "deployment": ("pipeline/deployment.py", "serving/settings.py"),
    "report": ("pipeline/summary.py", "report/run.py"),
}
COMPUTED = {
    "limits": ("data.max_prompt_tokens", "training.max_response_tokens", "data.overlong"),
    "training.world_size": ("training.num_gpus", "training.num_nodes"),
    "sweep.total_trials": ("sweep.num_trials", "sweep.num_seeds"),
    "sweep.gpu_hours_cap": ("sweep.max_gpu_hours",),
    "sweep.pursued": ("sweep.metric", "sweep.objectives"),
}
# Reads that do not act on what the stage writes.
LABELS = {
    "promotion.registry": {"baselines"},
    "traces.model": {"sweep"},
    # Of the start model alone, which is not scored there.
    "evaluation.num_zero_shot": {"evaluation"},
    "evaluation.num_rival_notes": {"evaluation"},
}
TABLES = {address.partition(".")[0] for address in known_addresses()}


@cache
def sources(place: str) -> tuple[ast.AST, ...]:
    import deepicd

    name, _, function = place.partition(":")
    files = sorted(Path(deepicd.__file__).parent.glob(name))
    assert files, f"there is no {name}"
    trees = [ast.parse(file.read_text()) for file in files]
    if not function:
        return tuple(trees)
    (found,) = (
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    return (found,)


def reads(tree: ast.AST) -> Iterator[str]:
    """Addresses after `experiment.` or `….experiment.`, as far as they are written out."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        chain: list[str] = []
        value: ast.expr = node
        while isinstance(value, ast.Attribute):
            chain.insert(0, value.attr)
            value = value.value
        if isinstance(value, ast.Name):
            chain.insert(0, value.id)
        if "experiment" in chain:
            after = chain[chain.index("experiment") + 1 :]
            if after and (after[0] in TABLES or after[0] in COMPUTED):
                yield ".".join(after)


def addresses_of(read: str) -> set[str]:
    """A read as addresses: of a table that was handed on, all of them."""
    known = known_addresses()
    for computed, parts in COMPUTED.items():
        if read.startswith(computed):
            return set(parts)
    exact = [address for address in known if read == address or read.startswith(f"{address}.")]
    table = [address for address in known if address.startswith(f"{read}.")]
    named = read.partition(".")[0]
    return set(exact or table or [name for name in known if name.startswith(f"{named}.")])


def identity_of(stage: str) -> set[str]:
    experiment = parse_experiment({}, "here")
    seals = {name: Seal(name, {}, {}, 1.0) for name in STAGES}
    settings = identify(STAGES[stage], experiment, seals)["settings"]
    tables = {address for address in known_addresses() if address in settings}
    tables |= {
        known for known in known_addresses() if any(s.startswith(f"{known}.") for s in settings)
    }
    return tables | set(STAGES[stage].reads)


@pytest.mark.parametrize("stage", WORK)
def test_every_setting_that_a_stage_reads_is_in_its_identity(stage):
    read = {name for place in WORK[stage] for tree in sources(place) for name in reads(tree)}
    acting = set().union(*map(addresses_of, read))
    excused = {address for address, stages in LABELS.items() if stage in stages}
    # Files whose contents came into an earlier stage, which this one follows from.
    excused |= {"data.root", "data.file", "data.splits", "sft.traces", "model.path"}
    if stage in {"baselines", "evaluation"}:
        excused |= set(PATIENCE)
    assert acting - identity_of(stage) - excused - set(INEFFECTIVE) == set()


def test_the_reader_of_sources_finds_reads(tmp_path):
    code = (
        "def f(experiment):\n    x = run.experiment.sft.batch_size\n    y = experiment.training\n"
    )
    assert set(reads(ast.parse(code))) == {"sft.batch_size", "training"}
    assert addresses_of("training") > {"training.num_gpus"}
    assert addresses_of("training.world_size") == {"training.num_gpus", "training.num_nodes"}
    found = {name for place in WORK["sft"] for tree in sources(place) for name in reads(tree)}
    assert {"training.world_size", "sweep.max_concurrent", "seed", "profile", "sft"} <= found


class Watched:
    """Stands before settings and notes the addresses that are read."""

    def __init__(self, model: BaseModel, seen: set[str], prefix: str = "") -> None:
        self._model, self._seen, self._prefix = model, seen, prefix

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        if isinstance(value, BaseModel):
            return Watched(value, self._seen, f"{self._prefix}{name}.")
        self._seen.add(f"{self._prefix}{name}")
        return value


def test_traces_follow_from_no_more_than_their_identity_says(tmp_path):
    seen: set[str] = set()
    run: Any = Run(parse_experiment({"sft": {"num_traces": 2}}, "here"), RunPaths(tmp_path))
    run.experiment = Watched(run.experiment, seen)
    run.paths.notes.mkdir(parents=True)
    write_split([note_of(number) for number in range(4)], run.paths.split("train"))
    stages._write_traces(run)
    assert "sft.num_traces" in seen and seen <= identity_of("traces")


def test_the_settings_of_notes_are_those_of_the_build_itself():
    config = DataConfig(source="table", file=Path("n.csv"))  # columns and sections act there
    settings = flatten(identity.identify(config, hashes={})["settings"])
    wanted = {f"data.{name}" for name in settings} | {"data.split_seed"}
    assert identity_of("notes") - set(STAGES["notes"].reads) == wanted


def test_what_changes_verl_s_configuration_of_sft_changes_its_identity():
    from deepicd.training.sft.config import compose_sft

    places = {name: Path(name) for name in ("model", "traces", "notes", "out")}
    seals = {name: Seal(name, {}, {}, 1.0) for name in STAGES}

    def both(experiment: Experiment) -> tuple[object, object]:
        composed = compose_sft(experiment, **places)
        del composed.trainer.experiment_name  # a label
        return composed, identify(STAGES["sft"], experiment, seals)

    before = both(parse_experiment({}, "here"))
    changes: tuple[tuple[str, str, object], ...] = (
        ("training", "num_gpus", 2),
        ("training", "num_nodes", 2),
        ("training", "ppo_micro_batch_size_per_gpu", 8),
        ("training", "rollout_n", 4),
        ("training", "learning_rate", 1e-5),
        ("data", "max_prompt_tokens", 512),
        ("data", "overlong", "filter"),
        ("sft", "epochs", 2),
        ("sft", "learning_rate", 1e-2),
        ("sft", "batch_size", 16),
        ("sft", "warmup_steps", 3),
        ("sft", "weight_decay", 0.1),
        ("sft", "max_trace_tokens", 64),
        ("serving", "port", 9000),
    )
    for table, name, value in changes:
        composed, identified = both(parse_experiment({table: {name: value}}, "here"))
        assert composed == before[0] or identified != before[1], f"{table}.{name}"
