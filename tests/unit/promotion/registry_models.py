"""Small models and predictions for tests of the registry."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from deepicd.config import PromotionConfig
from deepicd.records import (
    Examination,
    Prediction,
)

QUICK = PromotionConfig(num_bootstrap=100, min_patients=1)


def build_model(folder: Path, seed: int) -> Path:
    folder.mkdir(parents=True)
    weights = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    save_file({"embed.weight": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def rows(*pairs: tuple[str, str | None], patients: int = 0) -> Examination:
    """Predictions of (gold, prediction) pairs; `patients` > 0 spreads them over that many."""
    return Examination(
        [
            Prediction(f"n{i}", f"p{i % patients if patients else i}", gold, code)
            for i, (gold, code) in enumerate(pairs)
        ]
    )
