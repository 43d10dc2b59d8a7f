"""The gateway, run for real in one process over an engine scripted at the protocol's seam."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from deepicd.config import ServingConfig
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.records import Calibration, Limits, ServedPrediction
from deepicd.serving.ingress.gateway import Gateway, build_app
from deepicd.serving.ingress.middleware import hash_token
from deepicd.serving.ingress.prediction_log import AsyncPredictionLog
from deepicd.serving.protocol import Choice, Generation, Head, ServedVersion, TooLong
from deepicd.serving.settings import ServingSettings

RIGHT = "Chest pain on effort.</think>\n<diagnosis>I25.10</diagnosis>"
OTHER = "Pressure.</think>\n<diagnosis>I10</diagnosis>"
PLANTED = "zebrafinch-sonata"
LIMITS = Limits(2048, 1024)


class ScriptedEngine:
    """Answers with what it was given; keeps what it was asked."""

    def __init__(self, text: str = RIGHT, samples: tuple[str, ...] = (RIGHT, OTHER, "no code")):
        self.version = "v1"
        self.text = text
        self.samples = samples
        self.asked: list[tuple[str, int]] = []
        self.constrained: list[bool] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None
        self.readme: str | None = "# v1"
        self.calibration: Calibration | None = None

    async def generate(
        self, note: str, num_samples: int, *, is_constrained: bool = False
    ) -> Generation | TooLong:
        self.asked.append((note, num_samples))
        self.constrained.append(is_constrained)
        if self.error is not None:
            raise self.error
        if self.gate is not None:
            await self.gate.wait()
        if len(note) > 1000:
            return TooLong(999, 64)
        samples = self.samples[:num_samples]
        num_tokens = 5 * (1 + len(samples))
        return Generation(
            self.text,
            samples,
            (1, 2, 3),
            num_tokens,
            False,
            version=self.version,
            calibration=self.calibration,
        )

    async def forward(self, method: str, path: str, body: bytes) -> AsyncIterator[Head | bytes]:
        if self.error is not None:
            raise self.error
        yield Head(200, (("content-type", "text/event-stream"), ("server", "inner")))
        if path == "/v1/models":
            yield json.dumps({"data": [{"id": "v1"}, {"id": "deepicd"}]}).encode()
            return
        for piece in (method, path, json.loads(body)["model"]):
            yield f"data: {piece}\n\n".encode()

    async def card(self) -> str | None:
        return self.readme

    async def check_health(self) -> None:
        if self.error is not None:
            raise self.error


class ScriptedSwitch:
    """Champion, and a challenger where a test sets one."""

    def __init__(self, champion: ScriptedEngine) -> None:
        self.engine = champion
        self.canary: ScriptedEngine | None = None
        self.shadowing: ScriptedEngine | None = None

    def choose(self, request_id: str) -> Choice:
        if self.canary is not None and request_id.startswith("canary"):
            return Choice(self.canary, "canary")
        return Choice(self.engine, "champion")

    def champion(self) -> ScriptedEngine:
        return self.engine

    def shadow(self) -> ScriptedEngine | None:
        return self.shadowing

    def describe(self) -> list[ServedVersion]:
        return [ServedVersion(self.engine.version, "champion", 100.0)]


class ObservedLog(PredictionLog):
    """A real prediction log that remembers what it was given, and whose disk may be full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.kept: list[ServedPrediction] = []
        self.labels: dict[str, str] = {}
        self.is_full = False

    def record(self, prediction: ServedPrediction) -> None:
        if self.is_full:
            raise OSError(28, "no space left")
        super().record(prediction)
        self.kept.append(prediction)

    @property
    def rows(self) -> list[tuple[str, str, str | None, str | None]]:
        return [(kept.id, kept.version, kept.code, kept.reason) for kept in self.kept]

    def label(self, key, code, *, time=None, by="prediction") -> str:
        outcome = super().label(key, code, time=time, by=by)
        self.labels[f"{by} {key}"] = code
        return outcome


class GatewayClient:
    """Client of a gateway over a scripted engine and a log."""

    def __init__(
        self,
        *,
        tokens: dict[str, str] | None = None,
        limits: Limits = LIMITS,
        max_concurrent: int = 32,
        max_note_bytes: int = 1_000_000,
        **settings,
    ) -> None:
        self.engine = ScriptedEngine()
        self.switch = ScriptedSwitch(self.engine)
        self.folder = TemporaryDirectory()
        self.log = ObservedLog(Path(self.folder.name))
        self.observed: list[tuple[str, int]] = []
        config = ServingConfig(max_concurrent=max_concurrent, max_note_bytes=max_note_bytes)
        given = ServingSettings(config=config, limits=limits, **settings)
        app = build_app(
            Gateway(self.switch, AsyncPredictionLog(self.log), given),
            given,
            observe=lambda role, status, seconds: self.observed.append((role, status)),
            tokens={hash_token(token): scope for token, scope in (tokens or {}).items()},
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", trust_env=False
        )

    def post(self, path: str, body: object, **options) -> httpx.Response:
        return asyncio.run(self.http.post(path, json=body, **options))

    def get(self, path: str, **options) -> httpx.Response:
        return asyncio.run(self.http.get(path, **options))

    def send(self, method: str, path: str, **options) -> httpx.Response:
        return asyncio.run(self.http.request(method, path, **options))
