"""The embedded corpus: authored admissions, written as MIMIC-IV tables."""
