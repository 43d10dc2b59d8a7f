"""The whole loop on one machine or cluster, stage by stage: notes, model, SFT, sweep, evaluation, promotion, endpoint,
monitoring, report. What `deepicd demo` runs.

In: an experiment and a folder. Out: `RUN/summary.json`, `RUN/report.html` and everything on the way, as laid out by
`paths.RunPaths`. Decided here: the order of the stages and what each hands on, nothing else.
"""

import importlib.metadata
import json
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepicd import __version__
from deepicd.config import Experiment, dump_experiment
from deepicd.paths import RunPaths
from deepicd.records import Decision, Prediction, Trial

Say = Callable[[str], None]
STAGES = ("notes", "model", "sft", "baselines", "sweep", "evaluation", "promotion", "serving", "monitoring", "report")
NUM_QUERIES = 24
"""Test notes sent to the endpoint at the end."""
_PACKAGES = ("ray", "verl", "vllm", "torch", "transformers", "optuna", "tensordict", "TransferQueue")


@dataclass
class Run:
    """One run in progress."""

    experiment: Experiment
    paths: RunPaths
    say: Say
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by stage."""

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Time a stage and say where the run is."""
        self.say(f"[{len(self.stages) + 1}/{len(STAGES)}] {name}: {what}")
        started = time.monotonic()
        yield
        self.stages[name] = round(time.monotonic() - started, 1)
        self.say(f"      {name} took {self.stages[name]:.0f} s")


def run_pipeline(
    experiment: Experiment, root: Path, *, say: Say = print, serve_on: Callable[[Any], None] | None = None
) -> dict[str, Any]:
    """Run every stage and return the summary.

    Args:
        experiment: what to run.
        root: folder of the run; an earlier run in it is moved to `NAME.previous`.
        say: receives progress lines.
        serve_on: called with the running endpoint after the summary is written; None stops it right away.
    """
    from deepicd.clusters.session import ray_session

    run = Run(experiment, RunPaths(prepare_root(root, say)), say)
    check_before_start(experiment)
    dump_experiment(experiment, run.paths.experiment)
    with ray_session(experiment, run.paths.root):
        build_data(run)
        build_start_model(run)
        sft = score_model(run, "sft", run.paths.sft, stage="baselines")
        trials = sweep(run)
        best, candidate = evaluate_best(run, trials)
        decision, version = promote(run, best, {"sft": sft, "trial": candidate})
        endpoint, reply, monitor = serve_and_watch(run, version)
        try:
            with run.stage("report", str(run.paths.report)):
                champion = best.id if decision.accepted else None
                summary = summarise(run, trials, sft=sft, candidate=candidate, champion=champion)
                summary |= {"decision": asdict(decision), "version": version, "reply": reply, "monitor": monitor}
                write_report(run, summary)
            summary["stages"] = run.stages
            run.paths.summary.write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
            if serve_on is not None:
                serve_on(endpoint)
        finally:
            endpoint.stop()
    return summary


def prepare_root(root: Path, say: Say) -> Path:
    """An empty folder for the run; what an earlier run left there is kept beside it."""
    root = root.resolve()
    if root.exists():
        kept = root.with_name(f"{root.name}.previous")
        shutil.rmtree(kept, ignore_errors=True)
        root.rename(kept)
        say(f"started anew; the earlier run is kept in {kept}")
    root.mkdir(parents=True)
    return root


def check_before_start(experiment: Experiment) -> None:
    """Refuse at once what a later stage would refuse: the port, the token, the search space."""
    from deepicd.serving.endpoint import check_port, read_token
    from deepicd.serving.settings import ServingSettings
    from deepicd.sweeps.run import check_settings

    settings = ServingSettings.of_experiment(experiment)
    check_settings(experiment)
    check_port(settings)
    read_token(settings)


def build_data(run: Run) -> None:
    """Notes in MIMIC-IV tables → patient-level splits."""
    from deepicd.notes.build import build_notes

    data = run.experiment.data
    with run.stage("notes", f"{data.source} corpus, {data.num_notes} admissions, split by patient"):
        report = build_notes(data, tables=run.paths.tables, out=run.paths.notes, seed=run.experiment.seed)
        counts = ", ".join(f"{name} {count}" for name, count in split_counts(report).items())
        run.say(f"      {counts}")


def split_counts(report: Mapping[str, Any]) -> dict[str, int]:
    """Notes by split, from the build's report."""
    return {name: int(split["num_notes"]) for name, split in report["splits"].items()}


def build_start_model(run: Run) -> None:
    """Model and tokeniser, then SFT on reasoning traces: where every trial starts."""
    from deepicd.notes.build import read_split
    from deepicd.traces import build_traces, check_traces, write_traces
    from deepicd.training.model import build_model
    from deepicd.training.sft import train_sft

    experiment, paths = run.experiment, run.paths
    notes = read_split(paths.split("train"))
    model = experiment.model.path or paths.model
    with run.stage("model", f"{'from ' + str(model) if experiment.model.path else 'built here'}; traces"):
        traces = build_traces(notes, num_traces=experiment.sft.num_traces, seed=experiment.seed)
        check_traces(traces, notes)
        write_traces(traces, paths.traces)
        if experiment.model.path is None:
            texts = [note.text for note in notes] + [trace["response"] for trace in traces]
            built = build_model(experiment.model, texts, paths.model, seed=experiment.seed)
            run.say(f"      {built.num_parameters:,} parameters, {built.vocab_size} tokens")
    with run.stage("sft", f"{len(traces)} traces, {experiment.sft.epochs} epochs, verl's SFT trainer on Ray Train"):
        fitted = train_sft(
            experiment, model=model, traces=paths.traces, notes=paths.split("train"), out=paths.sft
        )
        run.say(f"      {fitted.num_steps} steps, loss {fitted.losses[0]:.2f} -> {fitted.losses[-1]:.2f}")


Scored = Mapping[str, Any]
"""`{"test": score set, "promotion": predictions, "majority": score set}`."""


def score_model(run: Run, name: str, model: Path, *, stage: str) -> dict[str, Any]:
    """Greedy predictions of one model on test and promotion; test scores on disk with intervals."""
    from deepicd.evaluation import EngineSettings, predict_many

    experiment, paths = run.experiment, run.paths
    with run.stage(stage, f"{name} on the test and promotion splits"):
        predictions = predict_many(
            model,
            {split: paths.split(split) for split in ("test", "promotion")},
            max_prompt_tokens=experiment.data.max_prompt_tokens,
            max_response_tokens=experiment.training.max_response_tokens,
            engine=EngineSettings.for_profile(experiment.profile, seed=experiment.seed),
        )
        test = score(run, name, predictions["test"])
        majority = score(run, "majority", majority_of(run, predictions["test"]))
        run.say(f"      majority code: {headline(majority)}")
        run.say(f"      {name}: {headline(test)}")
    return {"test": test, "promotion": predictions["promotion"], "majority": majority}


def majority_of(run: Run, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The majority code's predictions for the same notes."""
    from deepicd.evaluation import majority_predictions

    note_ids = [prediction.note_id for prediction in predictions]
    return majority_predictions(run.paths.split("train"), run.paths.split("test"), note_ids=note_ids)


def score(run: Run, name: str, predictions: Sequence[Prediction]) -> dict[str, float]:
    """Score predictions on the test split and keep them under `evaluation/NAME`."""
    from deepicd.evaluation import evaluate

    return evaluate(
        predictions, run.paths.evaluation / name, train=run.paths.split("train"), seed=run.experiment.seed
    )


def headline(scores: Mapping[str, float]) -> str:
    """The scores that people compare first."""
    low, high = scores["hierarchical_f1_low"], scores["hierarchical_f1_high"]
    return (
        f"hierarchical F1 {scores['hierarchical_f1']:.3f} [{low:.3f}, {high:.3f}], macro-F1 chapter "
        f"{scores['macro_f1_chapter']:.3f} category {scores['macro_f1_category']:.3f} full {scores['macro_f1_full']:.3f}, "
        f"unparsable {scores['share_unparsable']:.1%}"
    )


def sweep(run: Run) -> list[Trial]:
    """Ray Tune over verl trainers on Ray Train."""
    from deepicd.sweeps.run import run_sweep
    from deepicd.training.trial import TrialInput

    paths, settings = run.paths, run.experiment.sweep
    given = TrialInput(model=paths.sft, train=paths.split("train"), validation=paths.split("validation"))
    what = f"{settings.num_trials} trials of {run.experiment.training.total_steps} GRPO steps, {settings.scheduler}"
    with run.stage("sweep", what):
        return run_sweep(run.experiment, given, storage=paths.sweep, say=lambda line: run.say(f"      {line}"))


def evaluate_best(run: Run, trials: Sequence[Trial]) -> tuple[Trial, dict[str, Any]]:
    """The sweep's winner, its export checked by loading, scored like the baselines."""
    from deepicd import checkpoints
    from deepicd.sweeps.run import best_trial

    best = best_trial(trials, run.experiment.sweep.metric)
    model = model_folder(best)
    checkpoints.verify_by_loading(model)
    return best, score_model(run, f"trial-{best.id}", model, stage="evaluation")


def model_folder(trial: Trial) -> Path:
    """Hugging Face folder of a trial's best checkpoint."""
    from deepicd.training.trial import CHECKPOINT_MODEL

    assert trial.checkpoint is not None, "best_trial returns trials with a checkpoint"
    return Path(trial.checkpoint.path) / CHECKPOINT_MODEL


def promote(run: Run, best: Trial, scored: Mapping[str, Scored]) -> tuple[Decision, str]:
    """SFT start becomes champion, the winner challenges it on the split no trial saw; returns who serves."""
    from deepicd.promotion.promote import promote_candidate
    from deepicd.promotion.registry import CHAMPION, Registry

    registry, experiment = Registry(run.paths.registry), run.experiment
    gate = {"config": experiment.promotion, "seed": experiment.seed}
    lineage = {"experiment": experiment.name, "seed": experiment.seed, "code": code_commit()}
    with run.stage("promotion", "winner against the SFT start, paired on the promotion split"):
        start = registry.register(run.paths.sft, lineage={**lineage, "stage": "sft"}, scores=scored["sft"]["test"])
        predictions = {start.name: scored["sft"]["promotion"]}
        promote_candidate(registry, start.name, predictions=predictions, **gate)
        if CHAMPION not in registry.aliases():
            registry.promote(start.name, reason="first version; nothing else could serve")
        winner = registry.register(
            model_folder(best), lineage={**lineage, **lineage_of(best)}, scores=scored["trial"]["test"]
        )
        predictions[winner.name] = scored["trial"]["promotion"]
        decision = promote_candidate(registry, winner.name, predictions=predictions, **gate)
        verdict = f"{winner.name} is champion" if decision.accepted else f"{start.name} stays champion; nothing changed"
        run.say(f"      {verdict}:")
        for reason in decision.reasons:
            run.say(f"        {reason}")
    return decision, registry.aliases()[CHAMPION]


def lineage_of(trial: Trial) -> dict[str, Any]:
    """Where a trial's model comes from."""
    step = trial.checkpoint.step if trial.checkpoint else None
    return {"stage": "grpo", "trial": trial.id, "step": step, "params": dict(trial.params)}


def code_commit() -> str:
    """Commit of the code, with a mark if it was changed; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    place = Path(__file__).parent
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def serve_and_watch(run: Run, version: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Champion behind the endpoint, test notes asked, labels sent; returns endpoint, one reply, what monitoring says."""
    from deepicd.promotion.registry import Registry
    from deepicd.serving import endpoint as serving
    from deepicd.serving.settings import LogSettings, ServedModel, ServingSettings

    log = LogSettings(
        factory="deepicd.monitoring.log:PredictionLog", arguments={"path": str(run.paths.monitor)}
    )
    settings = ServingSettings.of_experiment(run.experiment, log=log)
    with run.stage("serving", f"{version} on Ray Serve with vLLM"):
        model = ServedModel(path=Registry(run.paths.registry).verify(version).path, version=version)
        endpoint = serving.start(model, settings)
        run.say(f"      {endpoint.url} answers")
    try:
        with run.stage("monitoring", f"{NUM_QUERIES} test notes asked, their labels sent late"):
            reply, monitor = query_and_label(run, endpoint.url)
    except BaseException:
        endpoint.stop()
        raise
    return endpoint, reply, monitor


def query_and_label(run: Run, url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask the typed route and, once, the OpenAI route by the official client; then label every answer."""
    import httpx

    from deepicd.notes.build import read_split
    from deepicd.serving.client import Client, read_token

    notes, token = read_split(run.paths.split("test"))[:NUM_QUERIES], read_token()
    client = Client(url, token=token)
    replies = [client.diagnose(note.text) for note in notes]
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
        for note, reply in zip(notes, replies, strict=True):
            label = {"prediction_id": reply["prediction_id"], "code": note.code}
            http.post("/v1/labels", json=label).raise_for_status()
        monitor = http.get("/v1/monitor").raise_for_status().json()
    run.say(f"      openai client, streamed: {stream_with_openai(url, notes[0].text)} pieces")
    window = monitor["windows"][-1]
    run.say(
        f"      {window['num_labelled']} labelled: hierarchical F1 {window['hierarchical_f1']:.3f} "
        f"[{window['low']:.3f}, {window['high']:.3f}]"
    )
    labelled = {"labelled": window["num_labelled"], "hierarchical_f1": window["hierarchical_f1"]}
    return replies[0], {**monitor, **labelled}


def stream_with_openai(url: str, note: str) -> int:
    """Number of pieces that the official client receives for one note."""
    import os

    import openai

    from deepicd.prompts import render_messages

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("DEEPICD_TOKEN") or "none")
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model, messages=render_messages(note), max_tokens=64, temperature=0, stream=True  # type: ignore[arg-type]
    )
    return sum(1 for chunk in stream if chunk.choices and chunk.choices[0].delta.content)


def summarise(
    run: Run, trials: Sequence[Trial], *, sft: Scored, candidate: Scored, champion: str | None
) -> dict[str, Any]:
    """What the run found, as plain values."""
    return {
        "experiment": run.experiment.name,
        "question": run.experiment.question,
        "seed": run.experiment.seed,
        "trials": [trial_row(trial) for trial in trials],
        "baselines": {"majority": sft["majority"], "sft": sft["test"]},
        "best": {"test": candidate["test"]},
        "champion": {"trial": champion, "test": (candidate if champion else sft)["test"]},
        "versions": versions(),
    }


def trial_row(trial: Trial) -> dict[str, Any]:
    """One trial for the summary."""
    row = asdict(trial)
    row["checkpoint"] = trial.checkpoint.path if trial.checkpoint else None
    return row


def versions() -> dict[str, str]:
    """Versions of what ran."""
    found = {"deepicd": __version__, "code": code_commit(), "python": platform.python_version()}
    for package in _PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found


def write_report(run: Run, summary: Mapping[str, Any]) -> None:
    """The run as one HTML file."""
    from deepicd.report import render_report
    from deepicd.sweeps.results import read_histories

    histories = read_histories(run.paths.sweep / "tune")
    html = render_report(summary, histories, stages=run.stages, experiment=run.experiment)
    run.paths.report.write_text(html, encoding="utf-8")
