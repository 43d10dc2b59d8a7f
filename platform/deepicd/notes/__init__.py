"""Admission notes of any source → `Note` rows in four splits on disk.

MIMIC-IV tables and the embedded corpus (written in the same layout) go through one reader: sections
and the reader in `mimic/`, the corpus in `corpus/`. Tables of other groups and FHIR exports are
read in `table/`, and cut by the same grammar. Splits are in `splits.py`, the build in `build.py`.
"""

from deepicd.notes.build import build_notes
from deepicd.notes.build_report import read_build_report
from deepicd.notes.split_files import read_note, read_split

__all__ = ["build_notes", "read_build_report", "read_note", "read_split"]
