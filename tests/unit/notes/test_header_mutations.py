"""Every header of the embedded corpus in other marks: the admission note stays the same."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import product

import pytest

from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.mimic_tables import write_summaries
from deepicd.notes.corpus.profiles import load_knowledge
from deepicd.notes.mimic.sections import cut_sections

HEADER = re.compile(r"(?m)^([A-Z][A-Za-z /()&-]{1,60}):")
NUM_TEXTS = 3
"""Summaries in which each form of a header is tried."""


def full_width(header: str) -> str:
    return "".join(chr(ord(mark) + 0xFEE0) if "!" <= mark <= "~" else mark for mark in header)


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "bold": lambda header: f"**{header}**",
    "underlined": lambda header: f"__{header}__",
    "a heading": lambda header: f"## {header}",
    "brackets": lambda header: f"[{header}]",
    "a bullet": lambda header: f"\u2022 {header}",
    "a number": lambda header: f"3. {header}",
    "indented": lambda header: f"   {header}",
    "blanks that do not break": lambda header: header.replace(" ", "\u00a0"),
    "two blanks": lambda header: header.replace(" ", "  "),
    "HTML": lambda header: f"<b>{header}</b>",
    "an invisible mark": lambda header: f"{header[:2]}\u200b{header[2:]}",
    "full-width letters": full_width,
}
SIGNS = (":", "\uff1a", " :", " -", " \u2013", ":-")


@pytest.fixture(scope="module")
def by_header() -> dict[str, list[str]]:
    """Header → some summaries that hold it."""
    knowledge = load_knowledge()
    drawn = sampling.sample_admissions(sampling.build_model(knowledge), 300, seed=5)
    worded = write_summaries(knowledge, drawn, splits=["train", "test"] * 150, seed=5)
    texts: dict[str, list[str]] = {}
    for summary in worded:
        for header in Counter(HEADER.findall(summary.text)):
            texts.setdefault(header, []).append(summary.text)
    return texts


@pytest.mark.parametrize("form", FORMS)
def test_every_header_of_the_corpus_in_another_form_gives_the_same_note(
    by_header: dict[str, list[str]], form: str
) -> None:
    assert len(by_header) >= 28
    changed = [
        (header, sign)
        for (header, texts), sign in product(by_header.items(), SIGNS)
        for text in texts[:NUM_TEXTS]
        if cut_sections(replace_header(text, header, FORMS[form](header) + sign))
        != cut_sections(text)
    ]
    assert changed == []


def replace_header(text: str, header: str, other: str) -> str:
    return re.sub(rf"(?m)^{re.escape(header)}:", lambda _: other, text)
