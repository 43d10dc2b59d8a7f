"""Text of an embedded note → the findings and conditions it states, in its own words.

In: a note of the embedded corpus. Out: `Mention`s in the order of the text. Decided here: every
phrase of the profiles is searched, the longest first, so that `pleuritic chest pain` is not also
`chest pain`; a sentence that denies is not read, nor the chief complaint, which repeats a complaint
of the present illness in coarser words. Pure; used for reasoning traces, and in tests to show that
what was sampled can be read back.
"""

import re
from dataclasses import dataclass
from functools import cache

from deepicd.notes.corpus.profiles import load_knowledge

_DENIAL = re.compile(r"(?:Denies|No|ROS negative for) [^.\n]*\.")
_BLANK = re.compile(r"\S")


@dataclass(frozen=True)
class Mention:
    """One finding or condition in a note."""

    name: str
    words: str
    """As written in the note."""
    section: str
    """Header of the section it stands in."""


def find_mentions(text: str) -> list[Mention]:
    """What a note states, each name once, in the order of the text; what it denies is left out."""
    names, pattern = _phrases()
    mentions: dict[str, Mention] = {}
    for line in text.splitlines():
        section, _, body = line.partition(": ")
        if section == "CHIEF COMPLAINT":
            continue
        # Blanked and not cut out, so that the words before and after it do not become one phrase.
        body = _DENIAL.sub(lambda match: _BLANK.sub(" ", match[0]), body)
        for match in pattern.finditer(body):
            words = match[0]
            for name in names[words]:
                mentions.setdefault(name, Mention(name, words, section))
    return list(mentions.values())


@cache
def _phrases() -> tuple[dict[str, tuple[str, ...]], re.Pattern[str]]:
    """Phrase → names, and one pattern that finds the longest phrase first."""
    knowledge = load_knowledge()
    names: dict[str, list[str]] = {}
    for finding in knowledge.findings:
        for words in (*finding.say, *finding.held):
            names.setdefault(words, []).append(finding.name)
    for condition in knowledge.conditions:
        for words in (*condition.say, *condition.meds):
            names.setdefault(words, []).append(condition.name)
    longest = sorted(names, key=lambda words: (-len(words), words))
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)")
    return {words: tuple(stating) for words, stating in names.items()}, pattern
