"""Ray Serve deployments whose code version never changes.

In: a deployment and options. Out: the deployment with these options. Decided here: Serve gives a
deployment a new code version for every `serve.run`, and a new one restarts its replicas. Here a new
`user_config` must reach the replica that runs (`reconfigure`): an engine that restarted would drop
requests and load its model again. Serve takes a version of ours only where it believes that the
call is its own.
"""

from typing import Any

from deepicd.upstream import require_version


def options_with_held_version(deployment: Any, **options: Any) -> Any:
    """`deployment.options(...)`, with one code version for ever.

    Raises:
        UpstreamError: another Ray is installed than the one that was read.
    """
    require_version("ray", "2.60.0", "holding the code version of Serve's deployments")
    # `_internal` lifts the refusal of `version` in `Deployment.options`, and nothing else.
    return deployment.options(version="1", _internal=True, **options)
