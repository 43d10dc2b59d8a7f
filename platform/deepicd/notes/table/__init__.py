"""Notes that are no MIMIC-IV: one table with a row a note, or a FHIR bulk export → cut notes."""
