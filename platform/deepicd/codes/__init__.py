"""The ICD-10-CM tree: which codes exist in which release, and what lies above and below them.

In: codes as text, in any case, with or without dot. Out: canonical codes (`I2510`), ancestors,
titles, releases. The tree is the union of the releases FY2016 and FY2019 to FY2026
(`deepicd/data/icd10cm.tsv.xz`, built by `scripts/build_code_table.py`), so a retired code keeps its
place and shares its path with the codes that replaced it. A block is named by its first and last
category even where they are the same (`B20-B20`), a chapter by its roman numeral. Fiscal years
start on 1 October of the year before. Source: ICD-10-CM, NCHS and CMS.
"""

from deepicd.codes.history import describe, parse, successors
from deepicd.codes.pattern import billable_pattern, pattern
from deepicd.codes.table import (
    CHAPTERS,
    MAX_LENGTH,
    RELEASES,
    billable_codes,
    billable_releases,
    dotted,
    exists,
    is_billable,
    normalise,
    releases,
    title,
)
from deepicd.codes.tree import (
    ancestors,
    block,
    category,
    chapter,
    chapter_title,
    children,
    descendants,
    distance,
    parent,
    path,
    shared_depth,
    siblings,
)

__all__ = [
    "CHAPTERS",
    "MAX_LENGTH",
    "RELEASES",
    "ancestors",
    "billable_codes",
    "billable_pattern",
    "billable_releases",
    "block",
    "category",
    "chapter",
    "chapter_title",
    "children",
    "descendants",
    "describe",
    "distance",
    "dotted",
    "exists",
    "is_billable",
    "normalise",
    "parent",
    "parse",
    "path",
    "pattern",
    "releases",
    "shared_depth",
    "siblings",
    "successors",
    "title",
]
