"""MIMIC-IV tables → admission notes: tables, sections, and the streaming reader."""
