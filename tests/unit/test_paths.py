"""The layout of a run directory, as docs and other programs rely on it."""

from pathlib import Path

import pytest

from deepicd.paths import SPLITS, RunPaths, rollouts_folder, trial_folder, validation_file

RUN = RunPaths(Path("runs/mine"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (RUN.experiment, "runs/mine/experiment.json"),
        (RUN.console, "runs/mine/console.log"),
        (RUN.tables, "runs/mine/tables"),
        (RUN.split("promotion"), "runs/mine/notes/promotion.parquet"),
        (RUN.grpo_notes, "runs/mine/grpo_notes/train.parquet"),
        (RUN.traces, "runs/mine/traces.parquet"),
        (RUN.sft, "runs/mine/sft"),
        (RUN.tune, "runs/mine/sweep/tune"),
        (RUN.decision, "runs/mine/sweep/decision.json"),
        (RUN.trials, "runs/mine/trials.json"),
        (RUN.registry, "runs/registry"),
        (RUN.summary, "runs/mine/summary.json"),
        (RUN.report, "runs/mine/report.html"),
        (trial_folder(RUN.sweep, "t1"), "runs/mine/sweep/trials/t1"),
        (validation_file(Path("t1"), 5), "t1/validation/step_5.jsonl"),
        (rollouts_folder(Path("t1")), "t1/rollouts"),
    ],
)
def test_everything_lies_where_the_docs_say(path, expected):
    assert path == Path(expected)


def test_two_paths_of_a_run_are_never_the_same_and_what_lies_outside_of_the_run_is_known():
    names = [name for name, value in vars(RunPaths).items() if isinstance(value, property)]
    paths = {name: getattr(RUN, name) for name in names}
    assert len(set(paths.values())) == len(paths) >= 20
    outside = [name for name, path in paths.items() if RUN.root not in path.parents]
    assert outside == ["lock", "cache", "registry"] and RUN.lock == Path("runs/.mine.lock")
    assert len({RUN.split(name) for name in SPLITS}) == len(SPLITS) == 4
