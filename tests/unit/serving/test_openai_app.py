"""What we change in vLLM's server, on a FastAPI application that was built like it; no vLLM."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from deepicd.serving.engine import openai_app

PLANTED = "zebrafinch-sonata"


class Body(BaseModel):
    """Of a completion."""

    prompt: str
    max_tokens: int = 1


def post(app: FastAPI, body: object) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.post("/v1/completions", json=body)

    return asyncio.run(ask())


@pytest.fixture
def built() -> FastAPI:
    """An application with a handler that repeats what was sent, as vLLM's does, and in use."""
    app = FastAPI()

    @app.post("/v1/completions")
    async def complete(body: Body) -> dict[str, str]:
        return {"text": body.prompt}

    async def repeat(_, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"message": str(error.errors())}, 400)

    app.add_exception_handler(RequestValidationError, repeat)
    assert PLANTED in post(app, {"prompt": [PLANTED]}).text
    return app


def test_a_malformed_body_is_no_longer_repeated(built):
    openai_app._hide_bodies(built)
    reply = post(built, {"prompt": [PLANTED]})
    assert reply.status_code == 400 and PLANTED not in reply.text
    assert reply.json()["error"]["message"] == "prompt: must be a string"
    assert post(built, {"prompt": "x"}).json() == {"text": "x"}


def test_a_renamed_model_keeps_its_alias():
    paths = [SimpleNamespace(name="v1"), SimpleNamespace(name="deepicd")]
    models = SimpleNamespace(base_model_paths=paths)
    app = SimpleNamespace(state=SimpleNamespace(openai_serving_models=models))
    openai_app.rename_model(app, "v1", "v2")
    assert [path.name for path in paths] == ["v2", "deepicd"]


def test_the_installed_versions_are_those_that_were_read():
    openai_app.check_versions()
