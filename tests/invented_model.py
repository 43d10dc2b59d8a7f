"""A model of one megabyte as the hub leaves large ones: untied, grouped-query attention, several
weight files. Its weights are random, its tokeniser is learnt from a few notes.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from deepicd.prompts import response_text
from deepicd.training.start_model import train_tokenizer

SIGNS = {"I2510": "crushing chest pain", "J189": "cough and fever", "N390": "burning urination"}


def rows(number: int) -> Iterator[dict[str, str]]:
    """Notes with their traces; the sign in the note decides the code."""
    for index in range(number):
        code = sorted(SIGNS)[index % len(SIGNS)]
        yield {
            "note_id": f"n{index}",
            "patient_id": f"p{index}",
            "text": f"CHIEF COMPLAINT: {SIGNS[code]}\nPRESENT ILLNESS: since {index} hours.",
            "code": code,
            "response": response_text(f"{SIGNS[code]} points there.", f"{code[:3]}.{code[3:]}"),
        }


def write_untied_model(
    folder: Path, *, hidden_size: int = 64, num_layers: int = 3, vocab_size: int = 0, seed: int = 0
) -> Path:
    """Write it into `folder`, float32, and return the folder; `vocab_size` 0 is the tokeniser's."""
    texts = [row[name] for row in rows(96) for name in ("text", "response")]
    tokenizer = train_tokenizer(texts, vocab_size=420)
    torch.manual_seed(seed)
    num_heads = max(2, hidden_size // 64)
    config = Qwen2Config(
        vocab_size=vocab_size or len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads // 2,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = Qwen2ForCausalLM(config).float()
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder, max_shard_size="300KB" if hidden_size < 512 else "500MB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder
