"""Checks of a version's folder, before it is served and before its weights replace others.

In: `ServedModel`s and `ServingSettings`. Out: limits, or an error that says what is wrong. Decided
here: every check reads files only, so that a version that cannot be served is refused before vLLM
is imported or a GPU is taken.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from deepicd.checkpoints import MANIFEST, read_manifest
from deepicd.errors import CapacityError, ConfigError, MissingError, ServingError
from deepicd.serving.settings import EngineSettings, ServedModel, ServingSettings

_SHAPELESS = dict.fromkeys(("_name_or_path", "transformers_version", "use_cache"))
"""Keys of a model's configuration that say nothing about the shape of its weights."""


def check_model(model: ServedModel) -> None:
    """Raise MissingError unless the folder looks like a model."""
    for name in ("config.json", "tokenizer.json"):
        if not (model.path / name).is_file():
            raise MissingError(
                f"version {model.version} has no {name} in {model.path}. Give the folder of an "
                "exported model, or verify the registry."
            )


def max_model_len(model: ServedModel, settings: ServingSettings) -> int:
    """Context of the engine in tokens: what the settings ask for, at most what the model has."""
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    asked = settings.limits.max_prompt_tokens + settings.limits.max_response_tokens
    return min(asked, int(config.get("max_position_embeddings", asked)))


def max_prompt_tokens(model: ServedModel, settings: ServingSettings) -> int:
    """Longest prompt, in tokens, after which a whole answer fits into the model's context.

    Raises:
        ConfigError: no prompt does.
    """
    limits = settings.limits
    longest = max_model_len(model, settings) - limits.max_response_tokens
    if longest < 1:
        raise ConfigError(
            f"version {model.version} has a context of {max_model_len(model, settings)} tokens, "
            f"and max_response_tokens is {limits.max_response_tokens}. Lower it."
        )
    return min(limits.max_prompt_tokens, longest)


def check_same_shape(first: Path, second: Path) -> None:
    """Raise ServingError unless weights of one can stand in the place of the other's."""
    for name in ("config.json", "tokenizer.json"):
        ours, theirs = (
            json.loads((folder / name).read_text(encoding="utf-8")) for folder in (first, second)
        )
        # None in both for what says nothing, so that it compares as equal.
        if {**ours, **_SHAPELESS} != {**theirs, **_SHAPELESS}:
            raise ServingError(
                f"{name} of the new version is another one, so its weights cannot take the place "
                "of the present ones. Make room for a further engine, or restart the endpoint."
            )


def check_weights(folder: Path, read: Mapping[str, str]) -> None:
    """Raise ServingError unless the SHA-256 of what was read is that of the version's manifest; a
    folder without one is taken as it is.
    """
    if not (folder / MANIFEST).is_file():
        return
    files = read_manifest(folder)["files"]
    wrong = [name for name, digest in read.items() if files.get(name, {}).get("sha256") != digest]
    if wrong or not read:
        raise ServingError(
            f"{wrong[0] if wrong else 'no weight file'} in {folder} is not what its manifest "
            "says. Verify the registry (deepicd registry verify)."
        )


def check_gpus(engine: EngineSettings, num_gpus: float) -> None:
    """Raise CapacityError when the cluster has fewer GPUs than one engine needs."""
    if engine.num_gpus > num_gpus:
        raise CapacityError(
            f"one engine needs {engine.num_gpus} GPUs (engine.tensor_parallel_size); the cluster "
            f"has {num_gpus:g}. Lower it, or serve with the cpu profile."
        )
