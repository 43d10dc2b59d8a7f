"""Keep the endpoint on whatever version is champion, for as long as it runs.

In: an endpoint and a function that names the champion. Out: nothing; returns when told to stop.
Decided here: the champion is asked for again and again (a registry is a folder, it cannot call); a
champion that cannot be loaded is reported once and the present version goes on answering.
"""

import threading
from collections.abc import Callable

from deepicd.errors import DeepICDError
from deepicd.serving.endpoint import Endpoint
from deepicd.serving.settings import ServedModel

PERIOD_S = 1.0
"""Seconds between two looks at the registry."""


def follow(
    endpoint: Endpoint,
    champion: Callable[[], ServedModel],
    *,
    stopped: threading.Event,
    report: Callable[[str], None],
) -> None:
    """Deploy each new champion until `stopped` is set; `report` receives one line per change."""
    refused: str | None = None
    while not stopped.wait(PERIOD_S):
        try:
            model = champion()
            if model.version in (endpoint.version, refused):
                continue
            report(f"{model.version} is champion now; loading it beside {endpoint.version}")
            refused = model.version
            endpoint.deploy(model)
        except DeepICDError as error:
            report(f"{endpoint.version} goes on answering: {error}")
        else:
            report(f"{endpoint.version} answers at {endpoint.url}")
            refused = None
