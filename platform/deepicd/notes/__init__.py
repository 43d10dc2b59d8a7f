"""Admission notes of MIMIC-IV or of the embedded corpus → `Note` rows in four splits on disk.

MIMIC-IV tables and the embedded corpus (written in the same layout) go through one reader: sections
and the reader in `mimic/`, the corpus in `corpus/`, splits in `splits.py`, and the build in
`build.py`.
"""

from deepicd.notes.build import build_notes
from deepicd.notes.build_report import read_build_report
from deepicd.notes.split_files import read_note, read_split

__all__ = ["build_notes", "read_build_report", "read_note", "read_split"]
