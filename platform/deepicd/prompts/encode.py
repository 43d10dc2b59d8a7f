"""Notes → token ids within the limit, the same for SFT, GRPO, evaluation and serving.

In: the tokeniser of a model folder, the longest prompt, what becomes of a longer one (`truncate`:
words are left out by `fit`; `filter`: there is no prompt). Out: `Prompt`s in the notes' order.
transformers loads the tokeniser once; an encoder carries its fast backend as text, so that workers
rebuild it without importing transformers, and encode whole blocks.

What stands before and after the user's turn is the same in every prompt and lies behind special
tokens, at which every tokeniser begins anew; it is encoded once, and a note's ids are put between.
Whether a tokeniser does so is tried on `_PROBES` first; one that does not encodes whole prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.prompts.fit import fit_note
from deepicd.prompts.render import (
    END_OF_TURN,
    START_OF_TURN,
    check_special_tokens,
    render_prompt,
)
from deepicd.records import Limits

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend


_PROBES = ("", "a", "12 mg", "\u00e9t\u00e9, \u4e2d", "HISTORY:\n  fall\t 3", "user\nuser", ".\n")
"""Notes on which a tokeniser must give the same with and without the frame."""


@dataclass(frozen=True)
class Prompt:
    """One rendered note."""

    token_ids: list[int] | None
    """Prefill included; None when the note is left out as over-long."""
    text: str
    """What the model is shown of the note."""
    num_tokens: int
    """Tokens of the prompt with the whole note."""
    is_cut: bool = False
    """True when words of the note were left out."""


@dataclass(frozen=True)
class PromptEncoder:
    """How notes become prompts. Plain values, so that it travels to workers."""

    backend: str = field(repr=False)
    """The fast tokeniser as JSON."""
    max_tokens: int
    """Longest prompt in tokens, prefill included."""
    overlong: Literal["truncate", "filter"] = "truncate"

    @classmethod
    def of_model(cls, model: Path, limits: Limits) -> "PromptEncoder":
        """Encoder with the tokeniser in a model folder.

        Raises:
            MissingError: no `tokenizer.json`.
            DataError: it is broken.
            ConfigError: ChatML's markers are unknown, or no word of a note can fit.
        """
        encoder = cls(load_backend(model), limits.max_prompt_tokens, limits.overlong)
        needed = encoder.count_overhead()
        if needed >= encoder.max_tokens:
            raise ConfigError(
                f"data.max_prompt_tokens is {encoder.max_tokens}, and a prompt without a note "
                f"already has {needed} tokens; raise it"
            )
        return encoder

    def encode(self, notes: Sequence[str]) -> list[Prompt]:
        """Prompts of notes; nothing is added or padded."""
        encoded = self._prompt_ids(notes)
        return [self._fit(note, ids) for note, ids in zip(notes, encoded, strict=True)]

    def count_overhead(self) -> int:
        """Tokens of a prompt without a note."""
        return _count_overhead(self.backend)

    def _fit(self, note: str, ids: list[int]) -> Prompt:
        if len(ids) <= self.max_tokens:
            return Prompt(ids, note, len(ids))
        if self.overlong == "filter":
            return Prompt(None, note, len(ids))
        budget = self.max_tokens - self.count_overhead()
        while kept := fit_note(note, self._count, budget):
            (shorter,) = self._prompt_ids([kept])
            if len(shorter) <= self.max_tokens:
                return Prompt(shorter, kept, len(ids), is_cut=True)
            budget -= len(shorter) - self.max_tokens  # tokens that arose where texts were joined
        return Prompt(None, note, len(ids))

    def _count(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in _encode(self.backend, texts)]

    def _prompt_ids(self, notes: Sequence[str]) -> list[list[int]]:
        rendered = [render_prompt(note) for note in notes]
        frame = _find_frame(self.backend)
        return _encode(self.backend, rendered) if frame is None else frame.encode(rendered)


def load_backend(model: Path) -> str:
    """The fast tokeniser of a model folder, as text that any process can rebuild it from.

    Raises MissingError without a `tokenizer.json`, DataError when it is broken, ConfigError when
    ChatML's markers are unknown.
    """
    path = model / "tokenizer.json"
    if not path.is_file():
        raise MissingError(
            f"no tokeniser at {path}; a model is a Hugging Face folder with a fast tokeniser."
        )
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exception on a broken file
        raise DataError(
            f"{path} is not a tokeniser ({type(error).__name__}); export the model again."
        ) from None
    check_special_tokens(list(tokenizer.added_tokens_encoder), str(path))
    return str(tokenizer.backend_tokenizer.to_str())


@dataclass(frozen=True)
class _Frame:
    """What is the same in every prompt."""

    backend: str
    head: str
    tail: str

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Ids of rendered prompts; only the middle is new."""
        start, end = len(self.head), len(self.tail)
        middles = _encode(self.backend, [text[start : len(text) - end] for text in prompts])
        head, tail = _encode(self.backend, [self.head, self.tail])
        return [[*head, *ids, *tail] for ids in middles]


@lru_cache(maxsize=2)
def _find_frame(backend: str) -> _Frame | None:
    """The frame, or None for a tokeniser that does not begin anew at a special token."""
    empty = render_prompt("")
    # The head ends right behind the special token: `user` and the note after it are encoded
    # together, since a tokeniser may join them.
    start = empty.rindex(f"{START_OF_TURN}user") + len(START_OF_TURN)
    frame = _Frame(backend, empty[:start], empty[empty.index(END_OF_TURN, start) :])
    probes = [render_prompt(text) for text in _PROBES]
    return frame if frame.encode(probes) == _encode(backend, probes) else None


def _encode(backend: str, texts: Sequence[str]) -> list[list[int]]:
    # "fast" leaves out the places in the text, which nobody asks for.
    encodings = _load(backend).encode_batch_fast(list(texts), add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


@lru_cache(maxsize=2)
def _count_overhead(backend: str) -> int:
    return len(_encode(backend, [render_prompt("")])[0])


@lru_cache(maxsize=2)
def _load(backend: str) -> "Backend":
    from tokenizers import Tokenizer as Backend

    tokenizer = Backend.from_str(backend)
    # A tokenizer.json may switch both on; a prompt is never padded or cut by the tokeniser.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
