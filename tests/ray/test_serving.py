"""The endpoint for real: Ray Serve, vLLM, the official client, a change of version under load.

One Ray and one Serve for the whole module: starting them is most of the time.
"""

import dataclasses
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from deepicd import serving
from deepicd.config import ServingConfig
from deepicd.errors import DeepICDError, MissingError
from deepicd.prompts import prompt_token_ids, render_messages
from deepicd.records import Limits
from deepicd.serving import EngineSettings, ServedModel, ServingSettings

PLANTED = "zebrafinch-sonata"
NOTE = f"CHIEF COMPLAINT: chest pain on effort.\nPRESENT ILLNESS: {PLANTED}, two weeks."
MAX_RESPONSE = 24
TEXTS = ["Chest pain on effort, with hypertension and diabetes.", NOTE.replace(PLANTED, "worse")]


@dataclasses.dataclass
class Stage:
    endpoint: serving.Endpoint
    models: dict[int, ServedModel]
    session: Path
    http: httpx.Client

    def diagnose(self, note: str = NOTE, **options) -> httpx.Response:
        return self.http.post("/v1/diagnoses", json={"note": note, **options})


@pytest.fixture(scope="module")
def stage(tmp_path_factory, find_port, build_served) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("serving")
    models = {seed: build_served(folder / f"model-{seed}", TEXTS, seed=seed) for seed in (1, 3)}
    settings = ServingSettings(
        config=ServingConfig(
            port=find_port(), max_concurrent=4, max_note_bytes=20_000, num_samples=3, window=100
        ),
        limits=Limits(256, MAX_RESPONSE),
        log=folder / "monitor",
        metrics_period_s=1.0,
        keep_former=False,
        engine=EngineSettings(kv_cache_bytes=64 << 20),
    )
    begun = time.monotonic()
    with serving.start(models[1], settings) as endpoint:
        print(f"\nstarted in {time.monotonic() - begun:.0f} s")
        session = Path(ray._private.worker._global_node.get_session_dir_path())
        with httpx.Client(base_url=endpoint.url, timeout=120, trust_env=False) as http:
            yield Stage(endpoint, models, session, http)
    assert not ray.is_initialized()


def greedy(model: ServedModel, ids: list[int]) -> list[int]:
    """What transformers answers to these ids."""
    network = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    shown = torch.tensor([ids])
    with torch.no_grad():
        found = network.generate(
            shown,
            attention_mask=torch.ones_like(shown),
            max_new_tokens=MAX_RESPONSE,
            do_sample=False,
        )
    return found[0, len(ids) :].tolist()


def ask_chat(stage: Stage, **options):
    client = openai.OpenAI(base_url=f"{stage.endpoint.url}/v1", api_key="none", max_retries=0)
    return client.chat.completions.create(
        model="deepicd", messages=render_messages(NOTE), max_tokens=MAX_RESPONSE, temperature=0,
        **options,
    )  # fmt: skip


def assert_serves(stage: Stage, model: ServedModel) -> None:
    """The prompt's ids are training's, and the answer is transformers' for the same weights."""
    tokenizer = AutoTokenizer.from_pretrained(model.path)
    ids = prompt_token_ids(tokenizer, NOTE)
    answer = greedy(model, ids)
    assert len(set(answer)) > 5  # a model that repeats one token would prove little
    typed = stage.diagnose(include_token_ids=True)
    assert typed.status_code == 200 and typed.headers["x-model-version"] == model.version
    body = typed.json()
    assert body["model_version"] == model.version and body["prompt_token_ids"] == ids
    assert body["usage"]["prompt_tokens"] == len(ids)
    assert body["parsable"] is (body["code"] is not None) and body["prediction_id"]
    chat = ask_chat(stage, extra_body={"return_token_ids": True})
    assert chat.model == model.version and chat.usage.prompt_tokens == len(ids)
    assert chat.prompt_token_ids == ids and chat.choices[0].token_ids == answer


def test_prompts_are_trainings_and_answers_are_transformers(stage):
    assert_serves(stage, stage.models[1])
    assert stage.diagnose().json()["top_k"] == stage.diagnose().json()["top_k"]  # seeded


def test_the_official_client_lists_completes_and_streams(stage):
    client = openai.OpenAI(base_url=f"{stage.endpoint.url}/v1", api_key="none", max_retries=0)
    names = [model.id for model in client.models.list()]
    assert names == [stage.endpoint.version, "deepicd"]
    assert client.models.retrieve("deepicd").id == "deepicd"
    whole = ask_chat(stage).choices[0].message.content
    pieces = list(ask_chat(stage, stream=True, stream_options={"include_usage": True}))
    text = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert text == whole and len(pieces) > 5
    assert pieces[-1].usage.completion_tokens <= MAX_RESPONSE
    completion = client.completions.create(model="deepicd", prompt="Chest", max_tokens=5)
    assert completion.usage.completion_tokens <= 5
    with pytest.raises(openai.NotFoundError, match="`gpt-9` does not exist"):
        client.completions.create(model="gpt-9", prompt="x")
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.completions.create(model="deepicd", prompt=f"{PLANTED} " * 800)


def test_a_batch_shows_the_model_each_of_its_notes_as_if_sent_alone(stage):
    notes, options = [NOTE, *TEXTS], {"include_token_ids": True, "include_evidence": True}
    batch = stage.http.post("/v1/diagnoses", json={"notes": notes, **options}).json()["diagnoses"]
    for note, found in zip(notes, batch, strict=True):
        alone = stage.diagnose(note, include_token_ids=True).json()
        assert found["prompt_token_ids"] == alone["prompt_token_ids"]
        assert all(note[e["start"] : e["end"]] == e["text"] for e in found["evidence"])
    assert len({found["prediction_id"] for found in batch}) == len(notes)


def test_the_model_card_is_that_of_the_version_that_answers(stage):
    card = stage.models[1].path / "README.md"
    assert stage.http.get("/v1/model-card").status_code == 404
    card.write_text("# A card")
    assert stage.http.get("/v1/model-card").text == "# A card"
    card.unlink()


def test_bad_bodies_are_refused_in_the_routes_own_form(stage):
    headers = {"content-type": "application/json"}
    broken = b'{"note": ' + PLANTED.encode()
    typed = stage.http.post("/v1/diagnoses", content=broken, headers=headers)
    assert typed.status_code == 400 and typed.json()["title"] == "Bad Request"
    inner = stage.http.post("/v1/chat/completions", content=PLANTED.encode(), headers=headers)
    assert inner.status_code == 400 and "not valid JSON" in inner.json()["error"]["message"]
    wrong = {"model": "deepicd", "messages": PLANTED}
    shaped = stage.http.post("/v1/chat/completions", json=wrong)
    assert shaped.status_code == 400 and PLANTED not in shaped.text
    long = stage.diagnose(f"{PLANTED} " * 300)
    assert long.status_code == 200 and long.json()["is_note_cut"]
    assert long.json()["usage"]["prompt_tokens"] <= 256
    assert stage.diagnose("x" * 30_000).status_code == 413
    assert stage.diagnose(" ").status_code == 422


def test_too_many_at_once_get_429_with_a_time_to_wait(stage):
    def ask(replies: list[httpx.Response]) -> None:
        replies.append(stage.diagnose(num_samples=16))

    replies: list[httpx.Response] = []
    threads = [threading.Thread(target=ask, args=(replies,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [reply.status_code for reply in replies]
    assert set(statuses) == {200, 429}
    busy = next(reply for reply in replies if reply.status_code == 429)
    assert busy.headers["retry-after"] == "1"


def test_a_crowd_of_seeded_samples_does_not_kill_the_engine(stage, find_engines):
    """vLLM's CPU engine dies of a seeded request whose prompt is cut in pieces; see `engine`."""
    engines = find_engines()
    client = openai.OpenAI(base_url=f"{stage.endpoint.url}/v1", api_key="none", max_retries=0)
    prompts = ["Chest pain on effort. " * 12] * 20
    reply = client.completions.create(
        model="deepicd", prompt=prompts, n=8, seed=3, temperature=0.9, max_tokens=4
    )
    assert len(reply.choices) == 160 and reply.usage.prompt_tokens * 8 > 10_000
    assert find_engines() == engines


def test_labels_become_a_window_and_a_gauge_on_the_nodes_metrics_port(stage):
    ids = [stage.diagnose().json()["prediction_id"] for _ in range(2)]
    for prediction_id in ids:
        label = {"prediction_id": prediction_id, "code": "I25.10"}
        reply = stage.http.post("/v1/labels", json=label)
        assert reply.status_code == 202 and reply.json()["outcome"] == "stored"
    monitor = stage.http.get("/v1/monitor").json()
    window = monitor["windows"][-1]
    assert monitor["status"] == "on" and window["num_labelled"] == 2
    wanted = {
        "value": window["hierarchical_f1"], "low": window["low"], "high": window["high"],
    }  # fmt: skip
    # Ray exports in its own time: the numbers after the first label may come before these.
    text = wait_for_metrics(lambda text: bounds_in(text, stage.endpoint.version) == wanted)
    assert bounds_in(text, stage.endpoint.version) == wanted
    assert "ray_vllm_" in text and "ray_deepicd_monitor_blind{" in text
    counted = [row for row in text.splitlines() if row.startswith("ray_deepicd_requests_total{")]
    assert any('role="champion"' in row and 'status="200"' in row for row in counted)
    assert re.search(r'ray_deepicd_latency_seconds_bucket\{[^}]*role="champion"', text)


def bounds_in(text: str, version: str) -> dict[str, float]:
    """Value and interval of a version's hierarchical F1, as the metrics port shows them."""
    rows = [row for row in text.splitlines() if row.startswith("ray_deepicd_hierarchical_f1{")]
    return {
        re.search(r'bound="(\w+)"', row)[1]: float(row.rsplit(" ", 1)[1])
        for row in rows
        if f'version="{version}"' in row
    }


def wait_for_metrics(is_complete: Callable[[str], bool]) -> str:
    """The node's metrics once they are complete, or as they are after a minute and a half."""
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 90
    while True:
        text = httpx.get(url, timeout=30, trust_env=False).text
        if is_complete(text) or time.monotonic() > deadline:
            return text
        time.sleep(1)


def test_a_version_that_cannot_be_loaded_changes_nothing(
    stage, build_served, find_engines, tmp_path
):
    broken = build_served(tmp_path / "broken", TEXTS, seed=5)
    weights = broken.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    before = find_engines()
    with pytest.raises(DeepICDError, match="version-5"):
        stage.endpoint.deploy(broken)
    with pytest.raises(MissingError, match="version-9"):
        stage.endpoint.deploy(ServedModel(path=tmp_path / "nothing", version="version-9"))
    assert stage.endpoint.version == "version-1" and before <= find_engines()
    assert stage.diagnose().json()["model_version"] == "version-1"


def test_a_change_of_version_under_load_fails_no_request(stage, find_engines):
    old_engines = find_engines()
    replies: list[tuple[int, str]] = []
    stopped = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=stage.endpoint.url, timeout=120, trust_env=False) as http:
            while not stopped.is_set():
                reply = http.post("/v1/diagnoses", json={"note": NOTE, "num_samples": 0})
                version = reply.json().get("model_version", reply.text)
                replies.append((reply.status_code, version))
                time.sleep(0.1)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    stage.endpoint.deploy(stage.models[3])
    num_before = len(replies)
    while len(replies) < num_before + 6:
        time.sleep(0.1)
    stopped.set()
    for thread in threads:
        thread.join()
    failed = [reply for reply in replies if reply[0] != 200]
    print(f"\n{len(replies)} requests, {len(failed)} failed")
    assert failed == []
    assert {version for _, version in replies} == {"version-1", "version-3"}
    assert replies[-1][1] == "version-3" and stage.endpoint.version == "version-3"
    assert_serves(stage, stage.models[3])
    deadline = time.monotonic() + 60
    while old_engines & find_engines() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not old_engines & find_engines()
    while not (engines := find_engines()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert engines


def test_gauges_of_a_version_that_is_gone_vanish(stage):
    assert stage.diagnose().json()["model_version"] == "version-3"
    text = wait_for_metrics(lambda text: versions_in(text) == {"version-3"})
    assert versions_in(text) == {"version-3"}


def versions_in(text: str) -> set[str]:
    """Versions of which the metrics port shows a window."""
    rows = [row for row in text.splitlines() if row.startswith("ray_deepicd_window_predictions{")]
    return {re.search(r'version="([\w-]+)"', row)[1] for row in rows}


def test_no_word_of_a_note_is_in_anything_that_was_written(stage):
    files = [path for path in stage.session.rglob("*") if path.is_file()]
    folder = stage.endpoint.settings.log
    files += list(folder.iterdir())
    logs = [path for path in files if path.suffix in (".log", ".out", ".err")]
    assert len(logs) > 5 and any(path.suffix == ".sqlite" for path in files)
    hits = [str(path) for path in files if PLANTED.encode() in path.read_bytes()]
    assert not hits
    assert json.loads(stage.diagnose().text)["model_version"] == "version-3"
