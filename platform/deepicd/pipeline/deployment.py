"""The champion behind the endpoint, asked as a client asks it, with labels that come late.

In: the champion's name. Out: `RUN/deployment.json`: the first reply, and the window that monitoring
computed. Decided here: what an interrupted deployment logged is put aside, so that the window holds
each note once.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepicd.pipeline.folder.command import find_registry
from deepicd.pipeline.run import Run
from deepicd.pipeline.summary import Promoted
from deepicd.pipeline.values import read_value, write_value

_SHORT_NOTE = "CHIEF COMPLAINT: chest pain"
"""For the OpenAI route, which shortens no prompt: any of the split may be too long for it."""


@dataclass(frozen=True)
class Deployment:
    """What was seen of an endpoint."""

    reply: dict[str, Any]
    """To the first note."""
    monitor: dict[str, Any]
    """The window that monitoring computed; `labelled` is the number of labels in it."""


def deploy(run: Run, promoted: Promoted) -> Deployment:
    """Serve the champion, ask it test notes, send their labels, and stop the endpoint."""
    file, version = run.paths.deployment, promoted.champion

    def work() -> Deployment:
        _put_aside(run.paths.monitor)
        with _start_endpoint(run, promoted) as endpoint:
            run.detail(f"{endpoint.url} answers")
            deployed = _query_and_label(run, endpoint.url)
            write_value(file, deployed, Deployment)
        return deployed

    num_notes = run.experiment.serving.num_check_notes
    what = f"{version} on Ray Serve with vLLM, {num_notes} test notes asked, their labels sent late"
    deployment: Deployment = run.do("deployment", what, work) or read_value(file, Deployment)
    return deployment


def keep_serving(run: Run, promoted: Promoted, serve_on: Callable[[Any], None]) -> None:
    """Serve the champion until `serve_on` returns."""
    with _start_endpoint(run, promoted) as endpoint:
        serve_on(endpoint)


def _put_aside(log: Path) -> None:
    """Rename a log to the next number: the largest one is the latest, whatever was removed."""
    if log.exists():
        suffixes = (
            place.name.removeprefix(f"{log.name}.") for place in log.parent.glob(f"{log.name}.*")
        )
        latest = max((int(each) for each in suffixes if each.isdecimal()), default=0)
        log.rename(log.with_name(f"{log.name}.{latest + 1}"))


def _start_endpoint(run: Run, promoted: Promoted) -> AbstractContextManager[Any]:
    from deepicd.promotion.remote_registry import open_registry
    from deepicd.serving import endpoint
    from deepicd.serving.settings import ServedModel, ServingSettings

    address = find_registry(promoted.registry, run.experiment, run.paths)
    path = open_registry(address).verify(promoted.champion).path
    settings = ServingSettings.of_experiment(run.experiment, log=run.paths.monitor)
    return endpoint.start(ServedModel(path=path, version=promoted.champion), settings)


def _query_and_label(run: Run, url: str) -> Deployment:
    """Ask the typed route, and once the OpenAI route by the official client; then send the
    labels.
    """
    import httpx

    from deepicd.notes.split_files import read_split
    from deepicd.scoring import mark_few
    from deepicd.serving.client import Client, read_token

    token = read_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    notes = read_split(run.paths.split("test"))[: run.experiment.serving.num_check_notes]
    client = Client(url, token=token)
    replies = [client.diagnose(note.text) for note in notes]
    longest = run.experiment.training.max_response_tokens
    pieces = _stream_with_openai(url, _SHORT_NOTE, token=token, max_tokens=longest)
    run.detail(f"the openai client streamed {pieces} pieces")
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
        for note, reply in zip(notes, replies, strict=True):
            label = {"prediction_id": reply["prediction_id"], "code": note.code}
            http.post("/v1/labels", json=label).raise_for_status()
        window = http.get("/v1/monitor").raise_for_status().json()["windows"][-1]
    ends = f"[{window['low']:.3f}, {window['high']:.3f}]{mark_few(window)}"
    score = f"{window['hierarchical_f1']:.3f} {ends}"
    run.detail(f"hierarchical F1 {score} over {window['num_labelled']} labels")
    return Deployment(replies[0], {**window, "labelled": window["num_labelled"]})


def _stream_with_openai(url: str, note: str, *, token: str | None, max_tokens: int) -> int:
    """Number of pieces that the official client receives for one note."""
    import openai

    from deepicd.prompts import render_messages

    # The official client cannot be made without a key, and an endpoint without a token reads none.
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=token or "none")
    turns: Any = render_messages(note)
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model, messages=turns, max_tokens=max_tokens, temperature=0, stream=True
    )
    # A chunk without choices carries the counts of tokens.
    contents = (chunk.choices[0].delta.content for chunk in stream if chunk.choices)
    return sum(1 for content in contents if content)
