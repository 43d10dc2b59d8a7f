"""From notes to a sweep's trials: data, start model, its scores, sweep."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd.config import Experiment, dump_experiment
from deepicd.errors import SweepError
from deepicd.files import link_files
from deepicd.paths import SPLITS, RunPaths
from deepicd.pipeline.context import base_model, load_scored, write_context
from deepicd.pipeline.folder.trials import read_swept, without_root, write_swept
from deepicd.pipeline.run import Run
from deepicd.pipeline.values import read_value, write_value
from deepicd.records import Calibration, Examination, Prediction, Trial

if TYPE_CHECKING:
    from deepicd.inference.offline import Sampling
    from deepicd.sweeps.results.decision import SweepResult


@dataclass(frozen=True)
class Scored:
    """One model after evaluation."""

    test: Mapping[str, float]
    """Scores on the test split, with intervals."""
    majority: Mapping[str, float]
    """Scores of the majority code on the same notes."""
    promotion: Examination
    """What the gate is shown."""
    calibration: Calibration | None
    """None where too few validation answers could be used."""


_SOURCES = {"mimic": "MIMIC-IV in", "table": "notes of", "fhir": "FHIR export in"}


def build_data(run: Run) -> None:
    """Notes of a source → patient-level splits; or the splits of an earlier build."""
    data = run.experiment.data
    what = f"{data.source} corpus, {data.num_notes} admissions, split by patient"
    if data.source != "embedded":
        what = f"{_SOURCES[data.source]} {data.place}, split by patient"
    if data.splits is not None:
        what = f"splits of {data.splits}, as they are"
    run.do("notes", what, lambda: _build_data(run))


def _build_data(run: Run) -> None:
    from deepicd.notes.build import build_notes
    from deepicd.notes.build_report import REPORT
    from deepicd.notes.corpus.mimic_tables import CEILING_ANSWERS
    from deepicd.notes.identity import check_build

    data, paths = run.experiment.data, run.paths
    if data.splits is None:
        report = build_notes(data, tables=paths.tables, out=paths.notes)
    else:
        report = check_build(data.splits, data)
        names = [REPORT, CEILING_ANSWERS, *(f"{name}.parquet" for name in SPLITS)]
        link_files(data.splits, paths.notes, [n for n in names if (data.splits / n).exists()])
    counts = (f"{name} {split['num_notes']}" for name, split in report["splits"].items())
    run.detail(", ".join(counts))


def build_start_model(run: Run) -> None:
    """Traces, model and tokeniser, SFT: where every trial starts."""
    own, sft = run.experiment.model.path, run.experiment.sft
    num_traces = sft.num_traces if sft.is_enabled else 0
    run.do("traces", f"{num_traces} for SFT, notes for GRPO", lambda: _write_traces(run))
    run.do("model", f"{own or 'built here, with its tokeniser'}", lambda: _build_model(run))
    what = f"{sft.epochs} epochs, verl's SFT trainer on Ray Train"
    if not sft.is_enabled:
        what = "switched off; GRPO starts from the model as it is"
    run.do("sft", what, lambda: _fit_start_model(run))


def _write_traces(run: Run) -> None:
    """Traces, and the training notes of patients without one."""
    from deepicd.notes.split_files import leave_out_patients, read_split
    from deepicd.traces import write_experiment_traces

    paths = run.paths
    notes = read_split(paths.split("train"))
    traces = write_experiment_traces(run.experiment, notes, paths.traces)
    patients = {trace["patient_id"] for trace in traces}
    num_left = leave_out_patients(paths.split("train"), patients, paths.grpo_notes)
    run.detail(f"{len(traces)} traces; {num_left} notes of patients without one are left for GRPO")


def _build_model(run: Run) -> None:
    """Build the small model, unless one is named."""
    from deepicd.notes.split_files import read_split
    from deepicd.traces import read_traces
    from deepicd.training.start_model import build_model

    paths = run.paths
    if run.experiment.model.path is not None:
        return
    # The traces too: the tokeniser is learnt from these texts, and has to write what SFT teaches.
    texts = [note.text for note in read_split(paths.split("train"))]
    texts += [trace["response"] for trace in read_traces(paths.traces)]
    built = build_model(run.experiment.model, texts, paths.model, seed=run.experiment.seed)
    run.detail(f"{built.num_parameters:,} parameters, {built.vocab_size} tokens")


def _fit_start_model(run: Run) -> None:
    """SFT on the traces with verl's SFT trainer on Ray Train."""
    from deepicd import checkpoints
    from deepicd.training.sft.run import train_sft

    paths = run.paths
    base = base_model(paths, run.experiment)
    if not run.experiment.sft.is_enabled:
        checkpoints.export(base, paths.sft, facts={"stage": "base"})
        return
    fitted = train_sft(
        run.experiment,
        model=base,
        traces=paths.traces,
        notes=paths.split("train"),
        out=paths.sft,
    )
    losses = f"loss {fitted.losses[0]:.2f} -> {fitted.losses[-1]:.2f}"
    run.detail(f"{fitted.num_traces} traces, {fitted.num_steps} steps, {losses}")


def score_start(run: Run) -> Scored:
    """The SFT start on the test and promotion splits, beside the majority code."""

    file = run.paths.evaluation / "sft.json"

    def work() -> Scored:
        scored = score_model(run, "sft", run.paths.sft)
        write_value(file, scored, Scored)
        return scored

    done = run.do("baselines", "the SFT start on the test and promotion splits", work)
    whole: Scored = done or read_value(file, Scored)
    return whole


def score_model(run: Run, name: str, model: Path) -> Scored:
    """Answers of one model to test and promotion, one start of vLLM for all that is asked of it;
    test scores on disk with intervals.
    """
    from deepicd.inference.offline import OfflineEngine
    from deepicd.notes.split_files import read_split
    from deepicd.promotion.examine import ask_for_calibration, examine, measure_calibration

    experiment, paths = run.experiment, run.paths
    engine = OfflineEngine.for_profile(experiment.profile, seed=experiment.seed)
    sampling = sampling_of(experiment)
    with load_scored(paths, experiment, model, engine=engine) as answering:
        asked = answering.answer_split(paths.split("test"))
        promotion = examine(
            answering,
            read_split(paths.split("promotion")),
            answering.answer_split(paths.split("promotion")),
            sampling=sampling,
        )
        validated = ask_for_calibration(
            answering,
            paths.split("validation"),
            num_notes=experiment.promotion.num_calibration,
            sampling=sampling,
        )
    calibration = measure_calibration(validated, sampling=sampling)
    # The context is made of the start's answers, once a run.
    if model == paths.sft:
        write_context(paths, experiment, test=asked, validation=validated)
    majority = _score_majority(run, asked)
    test = score(run, name, asked)
    run.detail(f"majority: {headline(majority)}")
    run.detail(f"{name}: {headline(test)}")
    if calibration is not None:
        errors = calibration.errors
        run.detail(
            f"confidence in a code: calibration error {errors['code_raw']:.3f} as counted, "
            f"{errors['code']:.3f} calibrated on {calibration.num_notes} answers; used for "
            f"{', '.join(calibration.curves) or 'no level'}"
        )
    return Scored(test=test, majority=majority, promotion=promotion, calibration=calibration)


def _score_majority(run: Run, asked: Sequence[Prediction]) -> dict[str, float]:
    """Of the majority code on the notes that were asked. Every model of a run is asked the same
    ones, and the stage that scored them first has sealed the file: it is not written again.
    """
    from deepicd.evaluation import SCORES, majority_predictions

    file = run.paths.evaluation / "majority" / SCORES
    if file.is_file():
        scores: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))["scores"]
        return scores
    train, test = run.paths.split("train"), run.paths.split("test")
    ids = [row.note_id for row in asked]
    return score(run, "majority", majority_predictions(train, test, note_ids=ids))


def sampling_of(experiment: Experiment) -> "Sampling":
    """How the endpoint draws answers beside the greedy one."""
    from deepicd.inference.offline import Sampling

    return Sampling(
        experiment.serving.num_samples, experiment.training.temperature, seed=experiment.seed
    )


def score(run: Run, name: str, predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score predictions on the test split and keep them under `evaluation/NAME`."""
    from deepicd.evaluation import evaluate

    train = run.paths.split("train")
    out = run.paths.evaluation / name
    return evaluate(predictions, out, train=train, seed=run.experiment.seed)


def headline(scores: Mapping[str, float]) -> str:
    """The scores that people compare first."""
    from deepicd.scoring import mark_few

    low, high = scores["hierarchical_f1_low"], scores["hierarchical_f1_high"]
    levels = ", ".join(
        f"{level} {scores[f'macro_f1_{level}']:.3f}" for level in ("chapter", "category", "full")
    )
    return (
        f"hierarchical F1 {scores['hierarchical_f1']:.3f} [{low:.3f}, {high:.3f}]"
        f"{mark_few(scores)}; "
        f"macro-F1 {levels}; unparsable {scores['share_unparsable']:.1%}"
    )


def sweep(run: Run) -> "SweepResult":
    """Ray Tune over verl trainers on Ray Train; goes on where trials are there already."""
    settings, steps = run.experiment.sweep, run.experiment.training.total_steps
    what = f"{settings.total_trials} trials of up to {steps} GRPO steps"
    return run.do("sweep", what, lambda: _sweep(run)) or read_swept(run.paths)


def _sweep(run: Run) -> "SweepResult":
    from deepicd.sweeps.results.spent import read_elsewhere
    from deepicd.sweeps.run import run_sweep
    from deepicd.sweeps.search.warm_start import check_notes
    from deepicd.training.process.protocol import TrialInput

    paths = run.paths
    check_notes(paths, run.experiment)
    trial_input = TrialInput(
        model=paths.sft, train=paths.grpo_notes, validation=paths.split("validation")
    )
    # Tune writes it before its first trial.
    is_resumed = (paths.tune / "tuner.pkl").is_file()
    if is_resumed:
        check_place(paths)
    else:
        dump_experiment(run.experiment, paths.sweep_experiment)
        write_value(paths.sweep_place, str(paths.sweep), str)
    result = run_sweep(
        run.experiment,
        trial_input,
        storage=paths.sweep,
        is_resumed=is_resumed,
        elsewhere_gpu_hours=sum(read_elsewhere(paths, run.experiment).values()),
    )
    write_value(paths.trials, [trial_row(run, trial) for trial in result.trials], list[Any])
    write_swept(paths, result)
    return result


def check_place(paths: RunPaths) -> None:
    """Refuse to go on with a sweep that was begun elsewhere: Ray Tune's state names its folder.

    Raises:
        SweepError: the run was moved while its sweep was not over.
    """
    if not paths.sweep_place.is_file():  # other code began it, and did not say where
        return
    began = read_value(paths.sweep_place, str)
    if began != str(paths.sweep):
        raise SweepError(
            f"the sweep of {paths.root} was begun in {began}, and Ray Tune goes on with it there "
            "alone; move the run back, or start another one"
        )


def trial_row(run: Run, trial: Trial) -> dict[str, Any]:
    """One trial, its checkpoint as a path that counts from the run's folder."""
    trial = without_root(trial, run.paths.root)
    return {**asdict(trial), "checkpoint": trial.checkpoint.path if trial.checkpoint else None}
