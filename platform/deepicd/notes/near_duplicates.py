"""Near-duplicates by MinHash: texts → signatures → pairs that lie in different groups.

A text is the set of its shingles: runs of `_SHINGLE_WORDS` words in lower case (a shorter text is
one shingle). Two texts agree in a component of their signatures with the probability of their
Jaccard similarity J, so the share of equal components estimates J (standard error at most 0.065
with 60 of them). Bands of `ROWS` components find the candidate pairs: with J = 0.8 a pair is a
candidate with probability 0.99, with J = 0.3 with 0.03. Source: Broder, 1997; Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, chapter 3.

Decided here: time and memory are linear in the words and in the texts. Within a bucket each text is
compared with the first text of every other group, not with all. Pure.
"""

from collections.abc import Iterator
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_SHINGLE_WORDS = 5
"""Words of a shingle."""
BANDS, ROWS = 12, 5
"""A signature has BANDS x ROWS components."""

_Hashes = NDArray[np.uint64]

# 2**64 over the golden ratio: it spreads 32 bits of a checksum over 64.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# One seed for ever: signatures of two processes must be comparable.
_RNG = np.random.default_rng(20260801)
# Odd, so that multiplying modulo 2^64 maps no two numbers to one.
_FACTORS: _Hashes = _RNG.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64) * 2 + 1
_OFFSETS: _Hashes = _RNG.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)
_WEIGHTS: _Hashes = _RNG.integers(0, 2**63, _SHINGLE_WORDS, dtype=np.uint64) * 2 + 1


def minhash_signatures(texts: pa.Array) -> NDArray[np.uint32]:
    """Signatures of n texts, of shape (n, BANDS x ROWS); equal texts have equal signatures."""
    words = pc.utf8_split_whitespace(pc.utf8_lower(pc.utf8_trim_whitespace(texts)))
    offsets = np.asarray(words.offsets).astype(np.int64)
    if not len(texts):
        return np.zeros((0, BANDS * ROWS), np.uint32)
    shingles, starts = _shingle(_hash_words(words.values), offsets)
    signatures = np.empty((len(texts), BANDS * ROWS), np.uint32)
    for component, (factor, offset) in enumerate(zip(_FACTORS, _OFFSETS, strict=True)):
        # The upper half: a product's low bits depend on the low bits of its factors only.
        mixed = ((shingles * factor + offset) >> np.uint64(32)).astype(np.uint32)
        signatures[:, component] = np.minimum.reduceat(mixed, starts)
    return signatures


def find_near_duplicates(
    signatures: NDArray[np.uint32], groups: NDArray[np.int8], *, similarity: float
) -> list[tuple[int, int]]:
    """Pairs (row, row) of different groups that agree in at least `similarity` of their components.

    Each row is named as the second of a pair once at most; sorted.
    """
    pairs: dict[int, int] = {}
    for rows, partners in _candidates(signatures, groups):
        agree = (signatures[rows] == signatures[partners]).mean(axis=1)
        for row, partner in zip(
            rows[agree >= similarity].tolist(), partners[agree >= similarity].tolist(), strict=True
        ):
            pairs.setdefault(row, partner)
    return sorted((partner, row) for row, partner in pairs.items())


def _candidates(
    signatures: NDArray[np.uint32], groups: NDArray[np.int8]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows and, for each, the first row of a lower group in the same bucket of a band."""
    for band in range(BANDS):
        components = signatures[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        bucket = (components * _FACTORS[:ROWS]).sum(axis=1, dtype=np.uint64)
        _, bucket = np.unique(bucket, return_inverse=True)
        # Above the last group there is none whose rows could be its partners.
        for group in np.unique(groups)[:-1]:
            members = np.flatnonzero(groups == group)
            first = np.full(int(bucket.max()) + 1, -1, np.intp)
            first[bucket[members[::-1]]] = members[::-1]  # backwards: the lowest row stays
            rows = np.flatnonzero((groups > group) & (first[bucket] >= 0))
            yield rows, first[bucket[rows]]


def _hash_words(words: pa.Array) -> _Hashes:
    """One number a word: a word has the same one in every batch and process."""
    coded = words.dictionary_encode()
    # crc32, because Python's own hash of a string differs from process to process.
    checksums = [crc32(word.encode()) for word in coded.dictionary.to_pylist()]
    table = np.array(checksums or [0], np.uint64) * _GOLDEN
    hashed: _Hashes = table[np.asarray(coded.indices)]
    return hashed


def _shingle(words: _Hashes, offsets: NDArray[np.int64]) -> tuple[_Hashes, NDArray[np.int64]]:
    """Hashes of all shingles, text after text, and where each text's shingles start.

    A text of fewer than _SHINGLE_WORDS words has one shingle, padded with zeros.
    """
    padded = np.concatenate([words, np.zeros(_SHINGLE_WORDS, np.uint64)])
    lengths = np.diff(offsets)
    runs = np.maximum(lengths - _SHINGLE_WORDS + 1, 1)
    starts = np.concatenate([[0], np.cumsum(runs)[:-1]])
    text = np.repeat(np.arange(len(runs)), runs)
    first = offsets[:-1][text] + np.arange(len(text)) - starts[text]
    shingles = np.zeros(len(text), np.uint64)
    for position in range(_SHINGLE_WORDS):
        is_inside = first + position < offsets[1:][text]
        word = padded[np.minimum(first + position, len(words))]
        shingles += np.where(is_inside, word, np.uint64(0)) * _WEIGHTS[position]
    shingles ^= shingles >> np.uint64(29)  # mixes the high bits into the low ones
    return shingles, starts
