"""A second of sums between all ranks, as training does them between steps.

    python -m deepicd.doctor.all_reduce BACKEND RANK NUM_RANKS ADDRESS PORT DEVICE

In: one rank's place. Out: rank 0 prints the bytes that each rank summed in a second, as JSON; a
fault ends the program with its text. Decided here: a program of its own, for a collective that
hangs does so in C++, where only the end of the process ends it. The ranks agree on the number of
rounds, since one that stopped earlier would leave the others waiting.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta

_SECONDS = 1.0
_NUM_FLOATS = 2**20
_TIMEOUT_S = 60.0
"""A second of sums, after torch's import and the meeting of the ranks."""
_SHOWN = 300


def main(backend: str, place: Sequence[str], device: str) -> None:
    """Be one rank.

    Args:
        backend: gloo or nccl.
        place: rank, number of ranks, address and port of rank 0.
        device: number of the GPU; of no meaning to gloo.
    """
    import torch
    from torch import distributed

    rank, num_ranks, address, port = place
    where = f"cuda:{device}" if backend == "nccl" else "cpu"
    if backend == "nccl":
        torch.cuda.set_device(int(device))
    distributed.init_process_group(
        backend,
        init_method=f"tcp://{address}:{port}",
        rank=int(rank),
        world_size=int(num_ranks),
        timeout=timedelta(seconds=_TIMEOUT_S / 2),
    )
    numbers = torch.ones(_NUM_FLOATS, device=where)
    distributed.all_reduce(numbers)
    if float(numbers.mean()) != float(num_ranks):
        raise SystemExit(f"a sum over {num_ranks} ranks of 1 came out as {float(numbers.mean())}")
    rounds, seconds = _sum_for_a_second(numbers, where)
    if rank == "0":
        print(json.dumps({"bytes_per_s": rounds * _NUM_FLOATS * 4 / seconds}))
    distributed.destroy_process_group()


def _sum_for_a_second(numbers: "torch.Tensor", where: str) -> tuple[int, float]:  # type: ignore[name-defined] # noqa: F821
    import torch
    from torch import distributed

    rounds, start = 0, time.monotonic()
    is_over = torch.zeros(1, device=where)
    while not is_over.item():
        distributed.all_reduce(numbers.fill_(1.0))
        rounds += 1
        # Rank by rank the second ends at another time: the first one ends it for all.
        is_over.fill_(float(time.monotonic() - start >= _SECONDS))
        distributed.all_reduce(is_over, op=distributed.ReduceOp.MAX)
    return rounds, time.monotonic() - start


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with closing(socket.socket()) as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def plan_ranks(num_gpus: Mapping[str, int]) -> tuple[str, dict[str, list[int]]]:
    """Backend, and the ranks of each node that takes part, for nodes with so many cards."""
    cards = {name: number for name, number in num_gpus.items() if number}
    alone = 2 if len(num_gpus) == 1 else 1
    counts = cards or dict.fromkeys(num_gpus, alone)
    ranks, first = {}, 0
    for name, number in counts.items():
        ranks[name] = list(range(first, first + number))
        first += number
    return ("nccl" if cards else "gloo"), ranks


def run_ranks(
    backend: str, ranks: Sequence[int], num_ranks: int, *, address: str, port: int
) -> tuple[float, str]:
    """Run this machine's ranks, each in a process: bytes each second (0 without rank 0), and the
    fault, which is empty where there is none.
    """
    program = [sys.executable, "-m", "deepicd.doctor.all_reduce", backend]
    processes = [
        subprocess.Popen(
            [*program, *map(str, (rank, num_ranks, address, port, device))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for device, rank in enumerate(ranks)
    ]
    try:
        return _collect(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _collect(processes: Sequence["subprocess.Popen[str]"]) -> tuple[float, str]:
    deadline, speed, faults = time.monotonic() + _TIMEOUT_S, 0.0, []
    for process in processes:
        try:
            out, error = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return 0.0, f"it did not end within {_TIMEOUT_S:.0f} s"
        if process.returncode:
            faults += [_last_line(error) or f"a rank ended with {process.returncode}"]
        elif out.strip():
            speed = float(json.loads(out.splitlines()[-1])["bytes_per_s"])
    return speed, "; ".join(dict.fromkeys(faults))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_SHOWN] if lines else ""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:6], sys.argv[6])
