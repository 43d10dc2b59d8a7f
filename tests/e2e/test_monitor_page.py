"""The monitor's page in a real browser, over the real gateway and a real prediction log."""

import io
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import ServedPrediction
from deepicd.serving.ingress.dashboard import PATHS
from deepicd.serving.ingress.gateway import Gateway, build_app
from deepicd.serving.ingress.middleware import hash_token
from deepicd.serving.ingress.prediction_log import AsyncPredictionLog
from deepicd.serving.routing import Backend, TrafficSplit
from deepicd.serving.settings import ServingSettings

CODES = ["I2510", "J189", "N390", "E119", "K219", "I10"]
ODD = "v2<img.src=x>"
LOADED = "return performance.getEntriesByType('resource').map(entry => entry.name)"
EMPTY = "return [...document.querySelectorAll('figure')].map(f => !f.querySelector('.main-svg'))"


class Served:
    """A switch whose engines are never asked."""

    def __init__(self, version: str) -> None:
        first, second = (Backend(app=name, version=name) for name in ("v1", version))
        self.traffic = TrafficSplit(champion=first, challenger=second, percent=20, is_shadow=True)

    def champion(self) -> Backend:
        return self.traffic.champion

    def describe(self) -> list[dict[str, str | float]]:
        return self.traffic.describe()


def fill(log: PredictionLog, *, other: str = "v2") -> PredictionLog:
    """A champion that gets worse, and a shadow that does not."""
    rng = random.Random(1)
    for i in range(400):
        gold = rng.choice(CODES)
        good = i < 200 or rng.random() < 0.2
        named = gold if good else rng.choice([None, *CODES])
        common = {
            "id": f"p{i}",
            "time": 1.7e9 + 60 * i,
            "num_prompt_tokens": 500 + i,
            "confidence": rng.randint(1, 9) / 9,
            "chapter_confidence": 0.95 if good else 0.5,
            "num_calibration": 200,
            "subgroups": {"sex": "FM"[i % 2]},
        }
        log.record(ServedPrediction(version="v1", code=named, **common))
        shadow = {**common, "chapter_confidence": 0.97}
        log.record(ServedPrediction(version=other, code=gold, role="shadow", **shadow))
        log.label(f"p{i}", gold)
    return log


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """A function that puts a gateway over a log on a free port and gives its address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(
        log: PredictionLog,
        *,
        token: str = "",
        other: str = "v2",
        registry: Path | None = None,
        kind: type[Gateway] = Gateway,
    ) -> str:
        settings = ServingSettings(registry=registry)
        switch: Any = Served(other)
        tokens = {hash_token(token): "admin"} if token else None
        gateway = kind(switch, AsyncPredictionLog(log), settings)
        app: Any = build_app(gateway, settings, tokens=tokens)
        place = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{place.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


def wait_for(browser: Chrome, place: str, text: str) -> str:
    """Text of an element once it holds that."""
    found = browser.find_element(By.ID, place)
    WebDriverWait(browser, 60).until(lambda _: text in found.text, f"no {text!r} in {place}")
    return found.text


def log_in(browser: Chrome, token: str) -> None:
    """Give the page a token, once it asks for one."""
    wait_for(browser, "status", "Locked.")
    browser.find_element(By.ID, "token").send_keys(token)
    browser.find_element(By.CSS_SELECTOR, "#login button").click()


def complaints(browser: Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_the_page_draws_everything_and_loads_nothing_from_elsewhere(browser, serve, tmp_path):
    url = serve(fill(PredictionLog(tmp_path, window=100)))
    browser.get(f"{url}/")
    assert "firing" in wait_for(browser, "alerts", "hierarchical-f1-rollback")
    assert "400 predictions" not in wait_for(browser, "status", "800 predictions")
    served = wait_for(browser, "served", "shadow")
    assert "80%" in served and "20%" in served and "copies" in served
    assert "v2 beside v1" in wait_for(browser, "pairs", "400 labelled")
    assert "chapter" in wait_for(browser, "drift", "drifts")
    assert "follows no registry" in wait_for(browser, "decisions", "registry")
    assert "sex: F" in wait_for(browser, "subgroups", "v2 (shadow)")
    assert browser.execute_script(EMPTY) == [False] * 5
    assert len(browser.find_elements(By.CSS_SELECTOR, "#f1 .errorbar")) >= 8  # 4 windows of each
    assert complaints(browser) == []
    assert all(name.startswith(url) for name in browser.execute_script(LOADED))


def test_an_empty_log_is_said_in_words(browser, serve, tmp_path):
    browser.get(serve(PredictionLog(tmp_path)))
    wait_for(browser, "alerts", "No alert.")
    wait_for(browser, "f1", "No prediction has a label yet.")
    assert complaints(browser) == []


class SparseGateway(Gateway):
    """Gives a report that lacks parts and has nulls where numbers may be."""

    async def monitor(self) -> dict[str, Any]:
        window = {"version": "v1", "end": 5.0, "hierarchical_f1": 0.5, "low": None, "high": None}
        alert = {"rule": "r", "severity": "warn", "version": "v1", "role": "champion"}
        whole = await super().monitor()
        return {
            **{name: whole[name] for name in ("status", "served", "decisions")},
            "windows": [window],
            "alarms": [{**alert, "state": "firing", "since": None}],
        }


def test_missing_parts_and_nulls_are_no_error(browser, serve, tmp_path):
    browser.get(serve(PredictionLog(tmp_path), kind=SparseGateway))
    assert "–" in wait_for(browser, "alerts", "firing")
    wait_for(browser, "decisions", "registry")  # the last part: drawing did not stop half-way
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(EMPTY)[0] is False)
    assert "No report" not in browser.find_element(By.ID, "status").text
    assert complaints(browser) == []


def test_what_the_endpoint_names_never_becomes_html(browser, serve, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "deepicd.monitoring.field_checks._check", lambda *_: None
    )  # as if one got through
    browser.get(serve(fill(PredictionLog(tmp_path, window=100), other=ODD), other=ODD))
    assert ODD in wait_for(browser, "served", ODD)
    WebDriverWait(browser, 60).until(lambda _: ODD in browser.find_element(By.ID, "f1").text)
    assert browser.find_elements(By.TAG_NAME, "img") == [] and complaints(browser) == []


def test_rollouts_are_shown_when_asked_for_as_text(browser, serve, tmp_path, monkeypatch):
    row = {"gold": "I10", "code": None, "reason": "no_diagnosis", "score": 0.25, "response": ODD}
    found = {"version": "v1", "trial": "7", "step": 3, "rollouts": [row]}
    monkeypatch.setattr("deepicd.serving.ingress.gateway.read_rollouts", lambda *_, **__: found)
    browser.get(serve(PredictionLog(tmp_path / "log"), registry=tmp_path, token="right"))
    log_in(browser, "right")
    wait_for(browser, "alerts", "No alert.")
    assert browser.find_element(By.ID, "rollouts").text == ""
    browser.find_element(By.ID, "ask-rollouts").click()
    text = wait_for(browser, "rollouts", ODD)
    assert "no_diagnosis" in text and "0.250" in text and "prompt" not in text
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert all("401" in message for message in complaints(browser))
    browser.get(serve(PredictionLog(tmp_path / "log"), token="right"))
    log_in(browser, "right")
    wait_for(browser, "alerts", "No alert.")
    browser.find_element(By.ID, "ask-rollouts").click()
    wait_for(browser, "rollouts", "follows no registry")


def test_the_page_fits_a_phone(browser, serve, tmp_path):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(serve(fill(PredictionLog(tmp_path, window=100))))
        wait_for(browser, "alerts", "firing")
        WebDriverWait(browser, 60).until(lambda _: browser.execute_script(EMPTY) == [False] * 5)
        width = "return document.documentElement.scrollWidth"
        assert browser.execute_script(width) <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_token_is_asked_for_kept_in_the_tab_and_sent(browser, serve, tmp_path):
    url = serve(fill(PredictionLog(tmp_path, window=100)), token="right")
    browser.get(url)
    wait_for(browser, "status", "Locked.")
    assert not browser.find_element(By.TAG_NAME, "main").is_displayed()
    for given in ("wrong", "right"):
        log_in(browser, given)
        if given == "wrong":
            wait_for(browser, "refused", "another token is needed")
    wait_for(browser, "alerts", "hierarchical-f1-rollback")
    assert browser.execute_script("return [localStorage.length, document.cookie]") == [0, ""]
    time.sleep(0.1)
    refused = [message for message in complaints(browser) if "401" not in message]
    assert refused == []


COLOURS = """
const style = (one) => getComputedStyle(one);
return [style(document.body).backgroundColor, style(document.body).color,
        style(document.querySelector(".firing")).color].map(
  (text) => text.match(/[0-9.]+/g).slice(0, 3).map(Number));
"""


def luminance(colour: list[float]) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [value / 255 for value in colour]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(browser, serve, tmp_path, scheme):
    """DEEPICD_PICTURES=docs/pictures keeps what was seen."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.set_window_size(1100, 2100)
    browser.get(serve(fill(PredictionLog(tmp_path, window=100))))
    wait_for(browser, "alerts", "firing")
    paper, ink, alert = map(luminance, browser.execute_script(COLOURS))
    for text in (ink, alert):
        low, high = sorted((paper, text))
        assert (high + 0.05) / (low + 0.05) > 4.5
    assert (paper > 0.5) == (scheme == "light")
    if folder := os.environ.get("DEEPICD_PICTURES"):
        time.sleep(1)
        image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).quantize(64)
        image.save(Path(folder) / f"monitor-{scheme}.png", optimize=True)


def test_the_pages_files_are_short_and_load_each_other_only(root: Path, find_links):
    folder = root / "platform" / "deepicd" / "data" / "monitor"
    loaded = set(find_links((folder / "page.html").read_text()))
    assert loaded == {"data:,", *(path[1:] for path in PATHS[1:])}
    assert all(file.read_text().count("\n") < 400 for file in folder.glob("page.*"))
