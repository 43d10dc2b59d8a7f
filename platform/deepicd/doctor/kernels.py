"""Whether what computes attention works on this machine.

    python -m deepicd.doctor.kernels

In: the installed torch and vLLM. Out: JSON, each kernel with its fault, which is empty where it
works, and the CUDA version of torch. Decided here: a kernel that was built for another processor
or driver fails at its import or its first call, so each is imported, and torch's attention is
called. A program of its own: it takes seconds and a gigabyte, and may end by a signal.
"""

import json
import subprocess
import sys
from importlib import import_module
from typing import Any

_OF_CPU = ("vllm._C",)
_OF_CUDA = ("vllm._C", "vllm.vllm_flash_attn", "flashinfer")
_TIMEOUT_S = 120.0
_SHOWN = 200


def _find_kernels() -> dict[str, Any]:
    """Import each kernel, and call torch's."""
    try:
        import torch
    except Exception as error:
        return {"cuda": "", "kernels": {"torch": _text(error)}}
    cuda = str(torch.version.cuda or "")
    found = {"torch scaled_dot_product_attention": _call_attention("cuda" if cuda else "cpu")}
    for name in _OF_CUDA if cuda else _OF_CPU:
        found[name] = _fault_of_import(name)
    return {"cuda": cuda, "kernels": found}


def _call_attention(device: str) -> str:
    import torch

    try:
        one = torch.ones(1, 1, 2, 16, device=device)
        torch.nn.functional.scaled_dot_product_attention(one, one, one).sum().item()
    except Exception as error:
        return _text(error)
    return ""


def _fault_of_import(name: str) -> str:
    try:
        import_module(name)
    except Exception as error:  # whatever a library raises when its kernel does not load
        return _text(error)
    return ""


def _text(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:_SHOWN]


def run_kernels() -> dict[str, Any]:
    """`_find_kernels` in a process of its own."""
    program = [sys.executable, "-m", "deepicd.doctor.kernels"]
    try:
        done = subprocess.run(
            program, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        fault = f"no answer within {_TIMEOUT_S:.0f} s"
    else:
        if done.returncode == 0:
            answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return answer
        fault = f"the process that tried ended with {done.returncode}"
    return {"cuda": "", "kernels": {"torch": fault}}


if __name__ == "__main__":
    print(json.dumps(_find_kernels()))
