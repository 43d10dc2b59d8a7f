"""The small model that the demonstration trains: its tokeniser and its first weights.

In: texts of the training split. Out: a Hugging Face folder (Qwen2 architecture, float32, random
weights by seed) whose vocabulary is exactly its tokeniser's: vLLM masks surplus ids and the actor
does not, which would make rollout and actor disagree. Decided here:

- Byte-level BPE learnt from the corpus, digits one by one: a code is spelt, never memorised as one
  token, so that near codes share their beginning. Normaliser and pre-tokeniser are Qwen2's own:
  for a model of this architecture `AutoTokenizer` puts them in whatever `tokenizer.json` says.
- ChatML markers are special tokens. `<think>`, `</think>`, `<diagnosis>`, `</diagnosis>` are plain
  added tokens: one id each, and not dropped when an answer is decoded.
- Embeddings are tied: a third of a model this small would be a second copy of them.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from deepicd import checkpoints
from deepicd.config import MLP_RATIO, ModelConfig
from deepicd.errors import DataError
from deepicd.prompts import CHAT_TEMPLATE, END_OF_TURN, SYSTEM_PROMPT

_PADDING = "<|endoftext|>"
_SPECIAL_TOKENS = (_PADDING, "<|im_start|>", END_OF_TURN)
TAGS = ("<think>", "</think>", "<diagnosis>", "</diagnosis>")
_MAX_POSITIONS = 4096
"""Longest sequence in tokens; rotary positions cost nothing until they are used."""


@dataclass(frozen=True)
class BuiltModel:
    """What was built."""

    path: Path
    """Hugging Face folder."""
    num_parameters: int
    """Tied embeddings counted once."""
    vocab_size: int
    """Tokens of the tokeniser, and rows of the embedding."""


def build_model(config: ModelConfig, texts: Iterable[str], out: Path, *, seed: int) -> BuiltModel:
    """Build tokeniser and model into the folder `out` (replaced if it is there).

    Args:
        config: sizes.
        texts: notes and responses of the training split; nothing of any other split.
        out: folder to write.
        seed: seed of the weights.

    Raises:
        DataError: no text.
    """
    tokenizer = train_tokenizer(texts, vocab_size=config.vocab_size)
    model = init_model(config, tokenizer, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        tokenizer.save_pretrained(aside)
        model.save_pretrained(aside)
        checkpoints.export(aside, out, facts={"seed": seed})
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return BuiltModel(out, model.num_parameters(), len(tokenizer))


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Any:
    """Byte-level BPE tokeniser with at most `vocab_size` tokens, all special ones included.

    Raises:
        DataError: no text.
    """
    pattern = Qwen2Tokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE())
    learner.normalizer = pattern.normalizer
    learner.pre_tokenizer = pattern.pre_tokenizer
    trainer = trainers.BpeTrainer(
        # The tags are added when it has learnt, each with an id of its own.
        vocab_size=vocab_size - len(TAGS),
        special_tokens=list(_SPECIAL_TOKENS),
        # Sorted: the alphabet comes in another order in every process, and ids follow it.
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(_as_prompted(texts), trainer)
    learnt = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(pair) for pair in learnt["merges"]],
        eos_token=END_OF_TURN,
        pad_token=_PADDING,
        extra_special_tokens=["<|im_start|>"],
        model_max_length=_MAX_POSITIONS,
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def init_model(config: ModelConfig, tokenizer: Any, *, seed: int) -> Any:
    """Qwen2 model with random float32 weights for this tokeniser."""
    shape = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=MLP_RATIO * config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_heads,
        max_position_embeddings=_MAX_POSITIONS,
        tie_word_embeddings=True,
        # Qwen2 begins a text with no token of its own.
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    # The caller's random state stays as it is; without devices no GPU is touched.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(shape).float()
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def _as_prompted(texts: Iterable[str]) -> Iterator[str]:
    """Each text without its tags, and the turns that every sample carries around it."""
    num_texts = 0
    for text in texts:
        num_texts += 1
        yield f"system\n{SYSTEM_PROMPT}\nuser\nassistant\n"
        yield reduce(lambda rest, tag: rest.replace(tag, ""), (*_SPECIAL_TOKENS, *TAGS), text)
    if not num_texts:
        raise DataError("no text to learn the tokeniser from; build the notes first")
