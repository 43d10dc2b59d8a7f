"""Another version's weights in the place of the present ones, without capacity for two engines."""

import shutil
import threading
from collections.abc import Iterator

import httpx
import openai
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from deepicd import serving
from deepicd.checkpoints import write_manifest
from deepicd.config import ServingConfig
from deepicd.errors import CapacityError, ServingError
from deepicd.prompts import prompt_token_ids, render_messages
from deepicd.records import Limits
from deepicd.serving import EngineSettings, ServedModel, ServingSettings, capacity

NOTE = "CHIEF COMPLAINT: chest pain on effort.\nPRESENT ILLNESS: two weeks, worse on stairs."
NUM_TOKENS = 16


@pytest.fixture(scope="module")
def models(tmp_path_factory, build_served) -> dict[str, ServedModel]:
    """Two versions of one shape, and three that cannot take their place."""
    folder = tmp_path_factory.mktemp("place")
    one = build_served(folder / "one", [NOTE], seed=1)
    found = {"one": one}
    for name, scale in (("two", 1.5), ("nan", float("nan"))):
        path = folder / name
        shutil.copytree(one.path, path)
        weights = load_file(path / "model.safetensors")
        for key in weights:
            weights[key] = weights[key] * scale if "mlp" in key else weights[key]
        save_file(weights, path / "model.safetensors", {"format": "pt"})
        write_manifest(path)
        found[name] = ServedModel(path=path, version=f"version-{name}")
    path = folder / "short"
    shutil.copytree(one.path, path)
    weights = load_file(path / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "layers.1" not in key}
    save_file(kept, path / "model.safetensors", {"format": "pt"})
    write_manifest(path)
    found["short"] = ServedModel(path=path, version="version-short")
    found["other"] = build_served(folder / "other", [NOTE, "Fever and cough."], seed=2)
    return found


@pytest.fixture(scope="module")
def endpoint(models, tmp_path_factory, find_port) -> Iterator[serving.Endpoint]:
    settings = ServingSettings(
        config=ServingConfig(port=find_port(), num_samples=1, window=100),
        limits=Limits(256, NUM_TOKENS),
        log=tmp_path_factory.mktemp("log"),
        engine=EngineSettings(kv_cache_bytes=64 << 20),
    )
    with serving.start(models["one"], settings) as started:
        yield started


@pytest.fixture
def no_capacity(monkeypatch) -> None:
    monkeypatch.setattr(capacity, "free_bytes", lambda: 0)


def greedy(model: ServedModel) -> list[int]:
    """What transformers answers with these weights."""
    network = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model.path)
    shown = torch.tensor([prompt_token_ids(tokenizer, NOTE)])
    with torch.no_grad():
        found = network.generate(
            shown, attention_mask=torch.ones_like(shown), max_new_tokens=NUM_TOKENS, do_sample=False
        )
    return found[0, shown.shape[1] :].tolist()


def ask(endpoint: serving.Endpoint) -> tuple[str, list[int]]:
    """Version and token ids of the official route's answer."""
    client = openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key="none", max_retries=0)
    reply = client.chat.completions.create(
        model="deepicd",
        messages=render_messages(NOTE),
        max_tokens=NUM_TOKENS,
        temperature=0,
        extra_body={"return_token_ids": True},
    )
    return reply.model, reply.choices[0].token_ids


class Load:
    """One client that asks without end, each request once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.versions: list[str] = []
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stopped.is_set():
            try:
                body = {"note": NOTE, "include_reasoning": True}
                url = f"{self.url}/v1/diagnoses"
                reply = httpx.post(url, json=body, timeout=120, trust_env=False).raise_for_status()
                assert reply.headers["x-model-version"] == reply.json()["model_version"]
                self.versions.append(reply.json()["model_version"])
            except (httpx.HTTPError, AssertionError) as error:
                self.failures.append(repr(error))


@pytest.mark.usefixtures("no_capacity")
def test_weights_change_in_place_and_back_under_load_without_a_failed_request(
    endpoint, models, find_engines
) -> None:
    answers = {name: greedy(models[name]) for name in ("one", "two")}
    assert answers["one"] != answers["two"]
    before = find_engines()
    assert len(before) == 1
    with Load(endpoint.url) as load:
        for name in ("two", "one", "two"):
            endpoint.deploy(models[name])
            version, ids = ask(endpoint)
            assert (version, ids) == (models[name].version, answers[name])
            assert endpoint.how == "in place" and find_engines() == before
    assert load.failures == []
    print(f"\nin place: {len(load.versions)} requests, 0 failed")
    order = [load.versions[0]]
    for version in load.versions:
        order += [version] if version != order[-1] else []
    assert order in (["version-1", "version-two", "version-1", "version-two"], order[:4])


@pytest.mark.usefixtures("no_capacity")
@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nan", "holds NaN or infinity"),
        ("short", "got no new weight"),
        ("other", "is another one"),
    ],
)
def test_weights_that_cannot_take_the_place_leave_the_present_ones(
    endpoint, models, find_engines, name, match
) -> None:
    present, ids = ask(endpoint)
    before = find_engines()
    with pytest.raises(ServingError, match=match):
        endpoint.deploy(models[name])
    assert ask(endpoint) == (present, ids) and find_engines() == before
    assert endpoint.version == present


@pytest.mark.usefixtures("no_capacity")
def test_a_challenger_needs_room_of_its_own(endpoint, models) -> None:
    champion = models["two"] if endpoint.version == "version-two" else models["one"]
    with pytest.raises(CapacityError, match="Withdraw a challenger"):
        endpoint.deploy(champion, models["other"], percent=10)


def test_a_new_engine_that_computes_no_numbers_or_is_too_slow_is_refused(endpoint, models) -> None:
    present = ask(endpoint)
    with pytest.raises(ServingError, match="computes no numbers"):
        endpoint.deploy(models["nan"])
    endpoint.settings = endpoint.settings.model_copy(update={"probe_timeout_s": 1e-3})
    with pytest.raises(ServingError, match="gave no answer to a short note"):
        endpoint.deploy(models["other"])
    assert ask(endpoint) == present
