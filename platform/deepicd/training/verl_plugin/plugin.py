"""What verl loads in every process, through the entry-point group `verl.plugins`.

In: `VERL_PLATFORM` of the process, and the namespace of its run's TransferQueue. Out: on `cpu`, the
CPU platform is registered and its patch applied; with a namespace, the queue is looked for there;
progress bars are locked within a process only, because the semaphore that tqdm takes for all of a
program's processes outlives an engine that is killed (`/dev/shm/sem.*`).
It must stay light: every worker, server and driver that imports verl pays for it. The heavy parts
(engine, vLLM replica) are in `grpo/registrations.py`, which the configuration names.

verl logs a plug-in that fails at DEBUG and goes on; here the cause is logged as an error first,
because what follows ("Unknown platform 'cpu'", "Duplicate device type") does not name it.
"""

import logging
import threading

from tqdm import tqdm

from deepicd.training.verl_plugin.patches import transfer_queue
from deepicd.training.verl_plugin.platform_choice import is_cpu_platform


def _activate() -> None:
    """Register the CPU platform with its patch, scope the queue: what the process asks for."""
    try:
        if is_cpu_platform():
            from deepicd.training.verl_plugin.cpu import platform
            from deepicd.training.verl_plugin.patches import process_group

            platform.register()
            process_group.apply()
        transfer_queue.apply()
        tqdm.set_lock(threading.RLock())
    except Exception:
        logging.getLogger(__name__).exception("verl could not be set up for this run")
        raise


_activate()
