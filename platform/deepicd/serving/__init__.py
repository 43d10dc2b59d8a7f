"""Champion → a Ray Serve application on vLLM: OpenAI-compatible routes and a typed one.

In: a model folder, its version name, `ServingSettings`. Out: `Endpoint`, whose `url` answers
`/v1/models`, `/v1/completions`, `/v1/chat/completions` (vLLM's own server code, streaming included)
and `/v1/diagnoses`, `/v1/labels`, `/v1/monitor`, `/healthz`.

Decided here: one light gateway process holds the routes, limits and the pointer to the version that
answers; each version has an engine process of its own, started beside the present one and only then
pointed at (blue/green); where memory has no room for that, weights are swapped in place.

    settings    what can be chosen                      protocols   the seams between the parts
    replies     the typed route's bodies                problems    refusals, in two forms
    guard       token, body size, concurrency           gateway     the routes (pure ASGI, no Ray)
    engine      vLLM in this process (no Ray)           completions free and constrained answers
    models      what a version's folder must be         turnstile   requests, or a change of weights
    routing     champion, canary or shadow              room        memory for one more engine
    metrics     what Prometheus sees                    targets     where it sees it
    page        the monitor as a web page               keeper      the log, off the event loop
    decisions   the registry's latest events            rollouts    what a version's trial answered
    evidence    words of the note in the reasoning      apps        the applications Serve runs
    deployments the two classes Ray Serve runs          declared    them as `serve deploy` reads it
    endpoint    start, change who answers, stop         follow      whoever the registry names
    client      what `deepicd query` speaks

Nothing heavy is imported before `start` is called.
"""

from deepicd.serving.endpoint import Endpoint, start, stop
from deepicd.serving.settings import EngineSettings, LogSettings, ServedModel, ServingSettings

__all__ = [
    "Endpoint",
    "EngineSettings",
    "LogSettings",
    "ServedModel",
    "ServingSettings",
    "start",
    "stop",
]
