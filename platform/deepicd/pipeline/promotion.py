"""From a sweep's winner to a watched endpoint: gate, registry, serving, late labels."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd.config import Experiment
from deepicd.errors import MissingError
from deepicd.pipeline.run import Run, experiment_or_defaults
from deepicd.pipeline.stages import Scored, lineage_of, model_folder, sampling_of
from deepicd.provenance import code_commit
from deepicd.records import Decision, Examination, Trial

if TYPE_CHECKING:
    from deepicd.paths import RunPaths
    from deepicd.promotion.registry import Registry

_log = logging.getLogger(__name__)

_NUM_QUERIES = 24
"""Test notes sent to the endpoint."""


def promote(run: Run, best: Trial, *, sft: Scored, candidate: Scored) -> tuple[Decision, str]:
    """The SFT start becomes champion; the winner challenges it on the split that no trial saw.

    Returns the decision about the winner and the name of the version that is champion now.
    """
    from deepicd.promotion.promote import promote_best
    from deepicd.promotion.registry import Registry
    from deepicd.promotion.versions import CHAMPION

    registry, experiment = Registry(run.paths.registry), run.experiment
    lineage = {"experiment": experiment.name, "seed": experiment.seed, "code": code_commit()}
    with run.stage("promotion", "the winner against the SFT start, paired on the promotion split"):
        start = registry.register(
            run.paths.sft,
            lineage=lineage | {"stage": "sft"},
            scores=sft.test,
            calibration=sft.calibration,
        )
        # Without a gate: there is no champion to compare with, and the winner needs an opponent.
        registry.promote(start.name, reason="the SFT start: nothing else can serve yet")
        winner = registry.register(
            model_folder(best),
            lineage=lineage | lineage_of(best),
            scores=candidate.test,
            calibration=candidate.calibration,
        )
        decision = promote_best(
            registry,
            [winner.name],
            examinations={start.name: sft.promotion, winner.name: candidate.promotion},
            config=experiment.promotion,
            seed=experiment.seed,
        ).decision
        champion = registry.aliases()[CHAMPION]
        _log_decision(run, decision, champion)
    return decision, champion


def _log_decision(run: Run, decision: Decision, champion: str) -> None:
    """What the gate decided, and why."""
    verdict = "is champion now" if decision.accepted else "stays champion; nothing changed"
    run.detail(f"{champion} {verdict}:")
    for reason in decision.reasons:
        run.detail(f"  {reason}")


def judge_version(store: "Registry", name: str, *, split: Path | None, run: "RunPaths") -> Decision:
    """Decide about a registered version, and move the alias if it is accepted.

    A decision that the registry holds against the present champion is used, unless a split is
    named. Otherwise the version and the champion answer the promotion split.

    Args:
        store: the registry.
        name: version or alias.
        split: notes to judge on; None takes the promotion split of the run.
        run: the run that the registry lies in.

    Raises:
        MissingError: nothing is called that, or there is no such split.
        PromotionError: the version is champion already, or the champion changed meanwhile.
    """
    from deepicd.promotion.promote import promote_best
    from deepicd.promotion.versions import CHAMPION

    champion = store.aliases().get(CHAMPION)
    recorded = store.decision(name)
    if recorded is not None and split is None:
        if recorded.accepted:
            store.promote(name, reason="won at the gate before", expected=champion)
        return recorded
    experiment = experiment_or_defaults(run.experiment)
    names = {store.get(name).name, *([champion] if champion else [])}
    notes = split or run.split("promotion")
    return promote_best(
        store,
        [name],
        examinations={
            each: _examine_version(store, each, split=notes, experiment=experiment)
            for each in names
        },
        config=experiment.promotion,
        seed=experiment.seed,
    ).decision


def _examine_version(
    store: "Registry", name: str, *, split: Path, experiment: Experiment
) -> Examination:
    """What the gate is shown of a version, by the run's own limits."""
    from deepicd.inference.offline import OfflineEngine, load_model
    from deepicd.notes.split_files import read_split
    from deepicd.promotion.examine import examine

    if not split.is_file():
        raise MissingError(
            f"no promotion split at {split}, and no decision about this version on record. Name "
            "the split with --split, or move the alias without a gate with --force."
        )
    _log.info("asking %s on %s ...", name, split)
    engine = OfflineEngine.for_profile(experiment.profile, seed=experiment.seed)
    with load_model(store.verify(name).path, limits=experiment.limits, engine=engine) as model:
        predictions = model.answer_split(split)
        sampling = sampling_of(experiment)
        return examine(model, read_split(split), predictions, sampling=sampling)


def start_endpoint(run: Run, version: str) -> Any:
    """Champion behind the endpoint."""
    from deepicd.promotion.registry import Registry
    from deepicd.serving import endpoint
    from deepicd.serving.settings import ServedModel, ServingSettings

    with run.stage("serving", f"{version} on Ray Serve with vLLM"):
        path = Registry(run.paths.registry).verify(version).path
        settings = ServingSettings.of_experiment(run.experiment, log=run.paths.monitor)
        started = endpoint.start(ServedModel(path=path, version=version), settings)
        run.detail(f"{started.url} answers")
    return started


def query_and_label(run: Run, url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask the typed route, and once the OpenAI route by the official client; then send the labels.

    Returns the first typed reply, and the window that monitoring computed.
    """
    import httpx

    from deepicd.notes.split_files import read_split
    from deepicd.serving.client import Client, read_token

    token = read_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with run.stage("monitoring", f"{_NUM_QUERIES} test notes asked, their labels sent late"):
        notes = read_split(run.paths.split("test"))[:_NUM_QUERIES]
        client = Client(url, token=token)
        replies = [client.diagnose(note.text) for note in notes]
        pieces = _stream_with_openai(url, notes[0].text, token=token)
        run.detail(f"the openai client streamed {pieces} pieces")
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
            for note, reply in zip(notes, replies, strict=True):
                label = {"prediction_id": reply["prediction_id"], "code": note.code}
                http.post("/v1/labels", json=label).raise_for_status()
            window = http.get("/v1/monitor").raise_for_status().json()["windows"][-1]
        low, high = window["low"], window["high"]
        score = f"{window['hierarchical_f1']:.3f} [{low:.3f}, {high:.3f}]"
        run.detail(f"hierarchical F1 {score} over {window['num_labelled']} labels")
    return replies[0], {**window, "labelled": window["num_labelled"]}


def _stream_with_openai(url: str, note: str, *, token: str | None) -> int:
    """Number of pieces that the official client receives for one note."""
    import openai

    from deepicd.prompts import render_messages

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=token or "none")
    turns: Any = render_messages(note)
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model, messages=turns, max_tokens=64, temperature=0, stream=True
    )
    contents = (chunk.choices[0].delta.content for chunk in stream if chunk.choices)
    return sum(1 for content in contents if content)
