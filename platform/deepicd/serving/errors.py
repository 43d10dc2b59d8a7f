"""Refusals: one `RefusedError`, told as problem detail (RFC 9457) or in OpenAI's shape.

In: status, rule and way out. Out: bodies and headers. Decided here: the OpenAI routes answer in
OpenAI's error shape, every other route with `application/problem+json`; no refusal repeats what was
sent.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from deepicd.errors import ServingError

OPENAI_PATHS = ("/v1/models", "/v1/completions", "/v1/chat/completions")


class RefusedError(ServingError):
    """A request that is refused, with its HTTP status and what to do about it."""

    def __init__(
        self, detail: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.headers = dict(headers or {})

    def body(self, path: str) -> dict[str, Any]:
        """JSON body in the form that fits the route."""
        if path.startswith(OPENAI_PATHS):
            return openai_error(self.status, self.detail)
        title = HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}

    def media_type(self, path: str) -> str:
        """Content type of `body`."""
        return "application/json" if path.startswith(OPENAI_PATHS) else "application/problem+json"


def openai_error(status: int, message: str) -> dict[str, Any]:
    """Error body as the OpenAI API has it."""
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def explain_validation(errors: Sequence[Mapping[str, Any]]) -> str:
    """Fields and rules of pydantic's errors; values are left out, they may be a note."""
    faults = (_explain_one(error) for error in errors)
    return "; ".join(dict.fromkeys(faults)) or "the body breaks the route's schema"


def _explain_one(error: Mapping[str, Any]) -> str:
    # FastAPI puts `body` in front of the place of every field.
    field = ".".join(str(key) for key in error.get("loc", ()) if key != "body") or "body"
    if error["type"] == "json_invalid":
        return "the body is not valid JSON"
    if error["type"] == "value_error":  # our own validators; their text names no value
        return f"{field}: {error.get('ctx', {}).get('error', 'not accepted')}"
    rules = {
        "missing": "is required",
        "extra_forbidden": "is not a known field",
        "string_type": "must be a string",
        "list_type": "must be a list",
        "model_attributes_type": "must be a JSON object",
    }
    return f"{field}: {rules.get(error['type'], error['type'].replace('_', ' '))}"


def refuse_too_long(num_tokens: int, most: int) -> RefusedError:
    """The training rule, said to the client."""
    return RefusedError(
        f"note: its prompt has {num_tokens} tokens; at most {most} "
        "are accepted, as in training, where longer notes are left out (data.overlong = 'filter'). "
        "Send the sections up to the physical exam only, or shorten the history.",
        status=400,
    )


def unavailable(version: str) -> RefusedError:
    """The engine cannot answer now; Serve is restarting it."""
    return RefusedError(
        f"version {version} cannot answer at the moment; its engine is being restarted. Try again "
        "in a few seconds.",
        status=503,
        headers={"retry-after": "5"},
    )


def not_ready() -> RefusedError:
    """No version has been deployed yet."""
    return RefusedError(
        "no version answers yet; the first one is being loaded. Try again in a few seconds.",
        status=503,
        headers={"retry-after": "5"},
    )


def timed_out(patience_s: float, setting: str = "request_timeout_s") -> RefusedError:
    """The engine, or the whole reply, took too long."""
    return RefusedError(
        f"no answer within {patience_s:g} s ({setting}). Ask for fewer samples or a "
        "shorter answer, or try again when fewer ask.",
        status=504,
    )
