"""The endpoint: a version of the registry behind Ray Serve and vLLM, with OpenAI's routes and ours.

In: a model folder, its version name, `ServingSettings`. Out: `Endpoint`, whose `url` answers
`/v1/models`, `/v1/completions`, `/v1/chat/completions` (vLLM's own server code, streaming included)
and `/v1/diagnoses`, `/v1/labels`, `/v1/monitor`, `/healthz`.

Decided here: one light gateway process holds the routes, limits and the traffic split; each version
has an engine process of its own, started beside the present one before any traffic goes to it
(blue/green); where memory has no capacity for that, weights are swapped in place.

    reconciler         the endpoint is brought to what the registry asks for
    endpoint           start, change who answers, stop
    applications       the applications that Ray Serve runs, and as `serve deploy` reads them
    deployments        the two classes that Ray Serve runs: gateway and engine
    ingress/           routes, middleware, schemas, the prediction log, the monitor's page (no Ray)
    engine/            vLLM, its completions, the lock between requests and a change of weights
    routing            champion, canary or shadow
    capacity           memory or GPUs for one more engine
    metrics            what Prometheus sees
    service_discovery  where Prometheus sees it
    client             what `deepicd query` speaks
    protocol           what gateway and engines agree on
    errors             refusals, in two forms
    settings           what can be chosen

Nothing heavy is imported before `start` is called.
"""

from deepicd.serving.endpoint import Endpoint, start, stop
from deepicd.serving.settings import EngineSettings, ServedModel, ServingSettings

__all__ = [
    "Endpoint",
    "EngineSettings",
    "ServedModel",
    "ServingSettings",
    "start",
    "stop",
]
