"""Layout of a run directory: the name of every file and folder in it; and paths as people write
them.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from deepicd.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")

TUNE = "tune"
"""Name of Ray Tune's folder inside a sweep's storage."""
STAGE = "stage.json"
"""Name of the file in a trial's folder that says what the trial does now."""
STUDY = "optuna.log"
"""Name of Optuna's journal beside it."""
SNAPSHOTS = "snapshots"
"""Name of the folder with the state from which a sweep goes on beside them."""
TRIALS = "trials"
"""Name of the folder of what trials write themselves."""
CAPS = "caps.json"
"""Name of the caps that its trials end at beside them."""
DECISION = "decision.json"
"""Name of the sweep's ranking and winner beside them."""
RECORD = "record.json"
"""Name of what a trial ran with, in the trial's folder."""
DIFF = "code.diff"
"""Name of the code's difference to its commit beside it."""
CACHE, REGISTRY = "cache", "registry"
"""Names beside the folders of runs: stages that they share, and their registry."""
SPLITS = ("train", "validation", "test", "promotion")


def expand_path(text: str) -> str:
    """A path, or a URL, as a shell would read it: `~` and `~NAME` are homes, `$NAME` and `${NAME}`
    what the environment says.

    Raises:
        ConfigError: nobody has that name, his home is not there, or a variable is not set.
    """
    text = _VARIABLE.sub(_value_of, text)
    if not text.startswith("~"):
        return text
    user = Path(text).parts[0]
    home = os.path.expanduser(user)  # noqa: PTH111 - Path.expanduser says nothing of who is missing
    if home == user or not Path(home).is_dir():
        shown = "nobody has that name" if home == user else f"there is no folder {home}"
        raise ConfigError(
            f"{user} in {text} is no home: {shown}; write the path out, or set HOME to a folder"
        )
    return home + text[len(user) :]


def _value_of(found: re.Match[str]) -> str:
    name = found[1] or found[2]
    if not (value := os.environ.get(name)):
        raise ConfigError(
            f"{found[0]} in {found.string} is not set in the environment; set {name}, or write the "
            "path out"
        )
    return value


def trial_folder(sweep: Path, trial: str) -> Path:
    """What a trial writes itself: checkpoints, validations, logs."""
    return sweep / TRIALS / trial


def validation_file(trial: Path, step: int) -> Path:
    """Predictions of one validation, in the trial's folder."""
    return trial / "validation" / f"step_{step}.jsonl"


def rollouts_folder(trial: Path) -> Path:
    """Where verl writes the answers of each step, as `STEP.jsonl`, if the trial keeps them."""
    return trial / "rollouts"


def events_file(trial: Path) -> Path:
    """What happened to a trial besides its metrics, a line each, in the trial's folder."""
    return trial / "events.log"


@dataclass(frozen=True)
class RunPaths:
    """Layout of `runs/NAME`."""

    root: Path

    @property
    def experiment(self) -> Path:
        """Resolved experiment (JSON)."""
        return self.root / "experiment.json"

    @property
    def lock(self) -> Path:
        """Held by the process that works in this folder."""
        return self.root.with_name(f".{self.root.name}.lock")

    @property
    def console(self) -> Path:
        """What libraries printed while the run went on."""
        return self.root / "console.log"

    @property
    def token(self) -> Path:
        """Token of the Ray session that the run started."""
        return self.root / "ray_token"

    @property
    def command(self) -> Path:
        """How far the run was to go (JSON); `resume` goes as far."""
        return self.root / "command.json"

    def seal(self, stage: str) -> Path:
        """What says that a stage is whole (JSON)."""
        return self.root / "stages" / f"{stage}.json"

    def begun(self, stage: str) -> Path:
        """What a stage that can go on from its parts began with (JSON)."""
        return self.root / "stages" / f"{stage}.begun.json"

    def interrupted(self, stage: str) -> Path:
        """What attempts of a stage took that did not end (JSON)."""
        return self.root / "stages" / f"{stage}.interrupted.json"

    def part(self, stage: str, name: str) -> Path:
        """What says that a part of such a stage is whole (JSON)."""
        return self.root / "stages" / stage / f"{name}.json"

    @property
    def cache(self) -> Path:
        """Whole stages that runs beside this one can take over."""
        return self.root.parent / CACHE

    @property
    def tables(self) -> Path:
        """Generated corpus in the MIMIC-IV table layout (`note/`, `hosp/`)."""
        return self.root / "tables"

    @property
    def notes(self) -> Path:
        """Split notes: `{train,validation,test,promotion}.parquet` and `report.json`."""
        return self.root / "notes"

    def split(self, name: str) -> Path:
        """Parquet file of one split of notes."""
        return self.notes / f"{name}.parquet"

    @property
    def traces(self) -> Path:
        """Supervised reasoning traces (Parquet)."""
        return self.root / "traces.parquet"

    @property
    def grpo_notes(self) -> Path:
        """Training notes of patients without a trace (Parquet)."""
        return self.root / "grpo_notes" / "train.parquet"

    @property
    def model(self) -> Path:
        """The base model as built (Hugging Face layout)."""
        return self.root / "model"

    @property
    def sft(self) -> Path:
        """The SFT start: Hugging Face layout."""
        return self.root / "sft"

    @property
    def sweep(self) -> Path:
        """Ray Tune's results, one folder a trial."""
        return self.root / "sweep"

    @property
    def tune(self) -> Path:
        """Ray Tune's own folder of the sweep: its state, and each trial's reports."""
        return self.sweep / TUNE

    @property
    def decision(self) -> Path:
        """The sweep's ranking and winner (JSON)."""
        return self.sweep / DECISION

    @property
    def sweep_experiment(self) -> Path:
        """The experiment that this sweep was started with (JSON); `resume` holds to it."""
        return self.sweep / "experiment.json"

    @property
    def sweep_place(self) -> Path:
        """Where this sweep was begun (JSON): it goes on there alone."""
        return self.sweep / "place.json"

    @property
    def trials(self) -> Path:
        """Trials of a finished sweep, as JSON."""
        return self.root / "trials.json"

    @property
    def sweep_report(self) -> Path:
        """What a sweep found, as one HTML file."""
        return self.root / "sweep.html"

    @property
    def swept(self) -> Path:
        """What the sweep ended with, as the stages after it read it (JSON)."""
        return self.sweep / "result.json"

    @property
    def evaluation(self) -> Path:
        """Predictions and scores, one folder a model."""
        return self.root / "evaluation"

    @property
    def context(self) -> Path:
        """Scores of what models of this run are compared with (JSON)."""
        return self.evaluation / "context.json"

    @property
    def registry(self) -> Path:
        """Model versions and aliases, of all runs beside this one."""
        return self.root.parent / REGISTRY

    @property
    def promotion(self) -> Path:
        """What the gate decided, and who is champion (JSON)."""
        return self.root / "promotion.json"

    @property
    def deployment(self) -> Path:
        """What the endpoint answered, and what monitoring saw (JSON)."""
        return self.root / "deployment.json"

    @property
    def monitor(self) -> Path:
        """Prediction and label log of the endpoint."""
        return self.root / "monitor"

    @property
    def summary(self) -> Path:
        """What a run found, as JSON."""
        return self.root / "summary.json"

    @property
    def report(self) -> Path:
        """What a run found, as one HTML file."""
        return self.root / "report.html"
