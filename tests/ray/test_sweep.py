"""A real sweep over verl: one trial stopped early, one killed in mid-step, one that ends by itself.

Afterwards nothing of them is left. One sweep serves all tests here, in the processes in which
`test_engine_reuse.py`'s sweep ran before, because a verl start is most of a minute.
"""

import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from processes import wait_until_gone

from deepicd.config import Experiment
from deepicd.errors import CapacityError, MissingError, SweepError
from deepicd.records import Trial

if TYPE_CHECKING:
    from deepicd.sweeps.results.decision import SweepResult

STEPS = 3
pytestmark = pytest.mark.timeout(1200)  # three starts of verl before the first test
NOTHING = {
    "groups": [],
    "drivers": [],
    "held": {"CPU": 0.0, "GPU": 0.0},
    "actors": [],
    "shared_memory": [],
}
RAYS_OWN = {"_AutoscalingCoordinatorActor", "_StatsActor"}


@dataclass
class Swept:
    """What the sweep left."""

    experiment: Experiment
    result: "SweepResult"
    histories: dict[str, list[dict[str, Any]]]
    lines: list[str]
    root: Path
    broken: SweepError
    """How a sweep without a start model ended."""
    cut: list[dict[str, Any]]
    """Of sweeps of one trial that a cap ends: its own cap, the run's."""
    left: dict[str, Any]

    @property
    def trials(self) -> Sequence[Trial]:
        """In the order they were started."""
        return self.result.trials


def drivers() -> list[psutil.Process]:
    """Processes of this machine that drive verl for this test's own Ray session."""
    return processes_of("deepicd.training.grpo.driver")


def processes_of(name: str) -> list[psutil.Process]:
    """Processes below this one with `name` in their command line, oldest first."""
    children = psutil.Process().children(recursive=True)
    found = [child for child in children if name in " ".join(command_of(child))]
    return sorted(found, key=lambda process: process.create_time())


def command_of(process: psutil.Process) -> list[str]:
    """Command line; empty for a process that is gone or a zombie."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def kill_in_mid_step(storage: Path, done: threading.Event) -> None:
    """Once a second trial has finished its first step, kill its Train worker with SIGKILL."""
    while not done.is_set():
        logs = sorted(storage.glob("trials/*/verl.log"), key=lambda file: file.stat().st_ctime)
        if len(logs) == 2 and "step:1 " in logs[1].read_text(errors="replace"):
            workers = processes_of("RayTrainWorker")
            if workers:
                workers[-1].kill()
                return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def swept(
    shared_runner: Any, twins: list[dict[str, Any]], shared_memory: Any, collect_log_lines: Any
) -> Swept:
    """The sweep; `twins` has started verl."""
    from deepicd.sweeps import run as sweeps
    from deepicd.sweeps.results.trials import read_histories

    experiment = shared_runner.experiment(
        {"learning_rate": 1e-4, "validate_every": 1},
        sweep={
            "num_trials": 3,
            "grace_steps": 1,
            "search": {
                "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
                "rewards.weights.hierarchy": {"type": "uniform", "low": 0.1, "high": 1.0},
            },
        },
    )
    storage, done = shared_runner.paths.sweep, threading.Event()
    killer = threading.Thread(target=kill_in_mid_step, args=(storage, done))
    killer.start()
    with pytest.MonkeyPatch.context() as patch, collect_log_lines() as lines:
        patch.setattr(sweeps, "build_scheduler", stop_first)
        result = shared_runner.run_sweep(experiment, storage=storage)
    done.set()
    killer.join()
    broken = sweep_without_a_model(shared_runner, experiment)
    histories = read_histories(storage / "tune")
    cut = cut_by_caps(shared_runner, experiment)
    shared_runner.close()
    left = what_is_left(shared_memory, timeout_s=60)
    return Swept(
        experiment,
        result,
        histories,
        lines,
        shared_runner.paths.root,
        broken=broken,
        cut=cut,
        left=left,
    )


def sweep_without_a_model(shared_runner: Any, experiment: Experiment) -> SweepError:
    """A sweep whose only trial finds an empty folder where its start model should be."""
    from deepicd.config import with_values

    model, one = shared_runner.paths.model, with_values(experiment, {"sweep.num_trials": 1})
    aside = model.rename(model.with_name("aside"))
    model.mkdir()
    try:
        with pytest.raises(SweepError, match="all 1 trials of small failed") as broken:
            shared_runner.run_sweep(one, storage=model.with_name("broken-sweep"))
    finally:
        model.rmdir()
        aside.rename(model)
    return broken.value


def cut_by_caps(shared_runner: Any, experiment: Experiment) -> list[dict[str, Any]]:
    """Trial, history and cap in hours of two sweeps of one trial. Their caps are less than the
    first report of any trial takes, so that no machine is too quick for them.
    """
    from deepicd.config import with_values
    from deepicd.sweeps.results.trials import read_histories

    cap = 0.5 / 3600
    one = {"sweep.num_trials": 1, "sweep.scheduler": "none"}
    cut = []
    for name, values, elsewhere in (
        ("trial", {"sweep.max_trial_gpu_hours": cap}, 0.0),
        ("run", {"sweep.max_gpu_hours": 2.0 + cap}, 2.0),
    ):
        storage = shared_runner.paths.root / f"cut-{name}"
        result = shared_runner.run_sweep(
            with_values(experiment, one | values), storage=storage, elsewhere_gpu_hours=elsewhere
        )
        (trial,) = result.trials
        history = read_histories(storage / "tune")[trial.id]
        cut.append({"trial": trial, "history": history, "cap": cap, "decision": result.decision})
    return cut


def what_is_left(shared_memory: Any, *, timeout_s: float) -> dict[str, Any]:
    """What is still there of the trials, given some time to go."""
    import ray

    from deepicd.clusters.state import free_resources, live_groups

    total, deadline = ray.cluster_resources(), time.monotonic() + timeout_s
    while True:
        left = {
            "groups": live_groups(),
            "drivers": drivers(),
            "held": {name: total[name] - free for name, free in free_resources().items()},
            "actors": live_actors(),
            "shared_memory": sorted(shared_memory.left()),
        }
        if left == NOTHING or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


def live_actors() -> list[str]:
    """Classes of this cluster's actors that are alive and are no service of Ray's own."""
    from ray._private.state import actors

    alive = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
    names = (actor["ActorClassName"] for actor in alive)
    return [name for name in names if name not in RAYS_OWN]


def stop_first(experiment: Experiment) -> Any:
    """A scheduler that stops the first trial after its first step, as ASHA would."""
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler

    class StopFirst(FIFOScheduler):  # type: ignore[misc]
        first: str | None = None

        def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
            self.first = self.first or trial.trial_id
            is_over = trial.trial_id == self.first and result["step"] >= 1
            return TrialScheduler.STOP if is_over else TrialScheduler.CONTINUE

    return StopFirst()


def test_a_stopped_and_a_killed_trial_do_not_end_the_sweep(swept: Swept) -> None:
    assert [trial.status for trial in swept.trials] == ["stopped", "failed", "finished"]
    stopped, killed, finished = swept.trials
    assert stopped.steps < STEPS and finished.steps == STEPS
    assert killed.error and finished.error is None


def test_a_trial_after_a_stopped_and_a_killed_one_starts_warm(
    swept: Swept, twins: list[dict[str, Any]]
) -> None:
    first, last = twins[0]["history"][-1], swept.histories[swept.trials[-1].id][-1]
    assert (first["start/reused_engine"], last["start/reused_engine"]) == (0.0, 1.0)
    assert last["start/seconds"] < first["start/seconds"] / 2


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (0, r"the cap of \S+ GPU-hours for a trial \(sweep\.max_trial_gpu_hours\)"),
        (1, r"the cap of \S+ GPU-hours for the run, 2\.00 of them for SFT and evaluation"),
    ],
)
def test_a_cap_ends_a_trial_of_verl_which_counts_with_what_it_has(
    swept: Swept, number: int, why: str
) -> None:
    cut = swept.cut[number]
    trial, hours = cut["trial"], [row["time_total_s"] / 3600 for row in cut["history"]]
    assert trial.status == "stopped" and re.fullmatch(why, trial.reason)
    assert trial.steps == cut["history"][-1]["step"] < STEPS
    assert len(hours) == 1 and hours[0] >= cut["cap"]


def test_nothing_of_any_trial_is_left(swept: Swept) -> None:
    assert swept.left == NOTHING


def test_a_cleaner_of_ray_train_that_stays_behind_is_ended(swept: Swept) -> None:
    import ray

    from deepicd.clusters.state import end_cleaners

    class PlacementGroupCleaner:
        def pid(self) -> int:
            return os.getpid()

    PlacementGroupCleaner.__qualname__ = "PlacementGroupCleaner"  # as Ray Train's own
    left = ray.remote(num_cpus=0)(PlacementGroupCleaner).options(lifetime="detached").remote()
    process = psutil.Process(ray.get(left.pid.remote()))
    assert end_cleaners(patience_s=0.5) == 1
    assert not wait_until_gone([process]) and end_cleaners(patience_s=30.0) == 0


def test_every_step_is_reported_with_every_reward_part(swept: Swept) -> None:
    rows = swept.histories[swept.trials[-1].id]
    assert [row["step"] for row in rows] == list(range(STEPS + 1))
    for row in rows[1:]:
        for part in ("format", "hierarchy", "outcome"):
            assert 0 <= row[f"reward/reward_{part}/mean"] <= 1
            assert f"reward/weighted_{part}/mean" in row


def test_actor_and_rollout_agree_in_every_step(swept: Swept) -> None:
    rows = swept.histories[swept.trials[-1].id][1:]
    assert min(row["training/rollout_actor_probs_pearson_corr"] for row in rows) >= 0.99


def test_each_validation_leaves_its_predictions_and_an_interval(swept: Swept) -> None:
    from deepicd.paths import trial_folder, validation_file
    from deepicd.scoring import hierarchical_f1, read_predictions

    trial = swept.trials[-1]
    notes = set()
    for row in swept.histories[trial.id][1:]:
        score = row["validation/hierarchical_f1"]
        ends = [row[f"validation/hierarchical_f1_{end}"] for end in ("low", "high")]
        file = validation_file(trial_folder(swept.root / "sweep", trial.id), row["step"])
        predictions = read_predictions(file)
        assert hierarchical_f1(predictions) == score and ends[0] <= score <= ends[1]
        notes.add(tuple(prediction.note_id for prediction in predictions))
    assert len(notes) == 1 and len(*notes) == swept.experiment.data.num_validation


def test_the_decision_names_the_best_with_its_interval(swept: Swept) -> None:
    from deepicd.sweeps.results.decision import read_decision

    decision = read_decision(swept.root / "sweep" / "decision.json")
    assert decision == swept.result.decision
    first = decision.configurations[0]
    scores = {
        trial.id: trial.validation["hierarchical_f1"] for trial in swept.trials if trial.checkpoint
    }
    assert decision.winner in first.trials and first.mean == max(scores.values())
    assert first.low is not None and first.high is not None
    assert any(f"trial {decision.winner} wins: {decision.why}" in line for line in swept.lines)


def test_reward_weights_reach_verl_as_values_of_the_trial(swept: Swept) -> None:
    for trial in swept.trials:
        log = (swept.root / "sweep" / "trials" / trial.id / "verl.yaml").read_text()
        assert f"hierarchy: {trial.params['rewards.weights.hierarchy']}" in log
    weights = {trial.params["rewards.weights.hierarchy"] for trial in swept.trials}
    assert len(weights) == 3


def test_different_values_have_different_fingerprints(swept: Swept) -> None:
    stopped, _, finished = (swept.histories[trial.id] for trial in swept.trials)
    assert stopped[1]["fingerprint/1"] != finished[1]["fingerprint/1"]
    assert len({finished[-1][f"fingerprint/{number}"] for number in (1, 2, 3)}) == 3


def test_a_trial_records_what_it_ran_with_before_its_first_step(swept: Swept) -> None:
    from deepicd.config import with_values
    from deepicd.paths import RunPaths
    from deepicd.sweeps.results.status import trial_facts

    for trial in swept.trials:
        folder = swept.root / "sweep" / "trials" / trial.id
        facts = trial_facts(RunPaths(swept.root), trial.id)
        record = facts["record"]
        assert facts["last"]["step"] == trial.steps and record["trial"] == trial.id
        values = with_values(swept.experiment, trial.params)
        assert record["experiment"] == values.model_dump(mode="json")
        written = (folder / "verl.yaml").read_bytes()
        assert record["verl"]["sha256"] == hashlib.sha256(written).hexdigest()
        assert Path(record["verl"]["path"]) == folder / "verl.yaml"
        assert (folder / "record.json").stat().st_mtime < (folder / "verl.log").stat().st_mtime
        (machine,) = record["machines"]
        assert record["num_nodes"] == 1 and machine["num_cpus"] == os.cpu_count()
        assert {"splits", "codes", "settings", "seed", "train"} <= record["data"].keys()
        assert record["versions"]["verl"] and len(record["lock"]["sha256"]) == 64


def test_a_sweep_whose_parameter_does_nothing_is_stopped_and_leaves_nothing(
    swept: Swept, shared_memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deepicd.config import with_values
    from deepicd.paths import RunPaths
    from deepicd.sweeps import run as sweeps
    from deepicd.training.process.protocol import TrialInput

    monkeypatch.setattr(sweeps, "build_trainable", lambda *_, **__: deaf_trial())
    paths = RunPaths(swept.root)
    trial_input = TrialInput(paths.model, paths.split("train"), paths.split("validation"))
    experiment = with_values(swept.experiment, {"sweep.scheduler": "none"})
    with pytest.raises(SweepError, match=r"differ in training.learning_rate \(.*\), and") as found:
        sweeps.run_sweep(experiment, trial_input, storage=swept.root / "deaf")
    names = [folder.name for folder in (swept.root / "deaf" / "trials").iterdir()]
    assert len(names) == 2 and all(name in str(found.value) for name in names)
    assert what_is_left(shared_memory, timeout_s=60) == NOTHING


def deaf_trial() -> Any:
    """A trial that does not hear its values, and holds a placement group as trials do. Made here
    because Ray's workers cannot import a test.
    """

    def deaf(params: dict[str, Any]) -> None:
        import ray
        from ray import tune
        from ray.util.placement_group import placement_group

        group = placement_group([{"CPU": 0.01}], lifetime="detached")
        ray.get(group.ready(), timeout=30)
        metrics = {"placement_group": group.id.hex(), "objective": 0.5, "critic/score/mean": 0.1}
        for step in range(5):
            prints = {f"fingerprint/{number}": float(number) for number in range(1, step + 1)}
            tune.report({**metrics, **prints, "step": step})

    return deaf


def test_the_study_is_an_ordinary_journal_of_optuna(swept: Swept) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(swept.root / "sweep" / "optuna.log")))
    study = optuna.load_study(study_name="small", storage=storage)
    assert [trial.params for trial in study.trials] == [trial.params for trial in swept.trials]
    done = {trial.number: trial.value for trial in study.trials if trial.state.name == "COMPLETE"}
    assert done[2] == swept.trials[2].validation["hierarchical_f1"]


def test_the_checkpoint_is_a_hugging_face_folder_that_loads(swept: Swept) -> None:
    from deepicd import checkpoints
    from deepicd.training.checkpoints.retention import CHECKPOINT_MODEL

    checkpoint = swept.trials[-1].checkpoint
    assert checkpoint is not None
    model = Path(checkpoint.path) / CHECKPOINT_MODEL
    assert checkpoints.verify_by_loading(model)["vocab_size"] > 0
    assert json.loads((model / "config.json").read_text())["dtype"] == "float32"


def test_an_export_that_is_not_its_actor_is_refused(swept: Swept, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    from deepicd.errors import CheckpointError
    from deepicd.training.checkpoints.export_check import check_export, compare
    from deepicd.training.checkpoints.retention import facts_of

    checkpoint = swept.trials[-1].checkpoint
    assert checkpoint is not None
    save, start = Path(checkpoint.path), swept.root / "model"
    assert compare(save, start, [[5, 6, 7]])["logits"] < 1e-6
    facts = facts_of(save)
    assert (facts["step"], facts["world_size"]) == (checkpoint.step, 1)
    copy = shutil.copytree(save, tmp_path / save.name)
    (weights,) = copy.rglob("*.safetensors")
    changed = load_file(weights)
    changed["model.norm.weight"][0] *= -1
    save_file(changed, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is not what the actor holds"):
        check_export(copy, start, [[5, 6, 7]])


def test_no_note_is_in_a_trial_log(swept: Swept) -> None:
    from deepicd.notes.split_files import read_split

    notes = read_split(swept.root / "notes" / "train.parquet")[:50]
    logs = [file.read_text(errors="replace") for file in swept.root.glob("sweep/**/*.log")]
    assert logs
    lines = {note.note_id: max(note.text.splitlines(), key=len)[:60] for note in notes}
    assert not [name for name, line in lines.items() for log in logs if line in log]


def test_a_sweep_that_cannot_run_is_refused_before_anything_starts(swept: Swept) -> None:
    from deepicd.config import with_values
    from deepicd.sweeps.run import check_sweep
    from deepicd.training.process.protocol import TrialInput

    root = swept.root
    notes = root / "notes"
    trial_input = TrialInput(root / "model", notes / "train.parquet", notes / "test.parquet")
    two_gpus = {"training.num_gpus": 2, "training.ppo_micro_batch_size_per_gpu": 8}
    with pytest.raises(CapacityError, match=r"1 trial\(s\) at once need 1 x 2 GPUs .* have \[1\]"):
        check_sweep(with_values(swept.experiment, two_gpus), trial_input)
    with pytest.raises(CapacityError, match=r"2 trial\(s\) at once need 2 x 1 GPUs"):
        check_sweep(with_values(swept.experiment, {"sweep.max_concurrent": 2}), trial_input)
    with pytest.raises(MissingError, match="no/model"):
        check_sweep(swept.experiment, replace(trial_input, model=Path("no/model")))


def test_a_sweep_in_which_every_trial_fails_is_an_error(swept: Swept) -> None:
    with pytest.raises(SweepError, match="all 1 trials of small failed"):
        raise swept.broken
