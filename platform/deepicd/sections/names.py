"""The sections of an admission note, in order, and which topic belongs to which. Pure."""

SECTIONS = (
    "CHIEF COMPLAINT",
    "PRESENT ILLNESS",
    "MEDICAL HISTORY",
    "MEDICATION ON ADMISSION",
    "ALLERGIES",
    "PHYSICAL EXAM",
    "FAMILY HISTORY",
    "SOCIAL HISTORY",
)
"""Headers of an admission note, in order."""

SECTION_OF = {
    "illness": "PRESENT ILLNESS",
    "complaint": "CHIEF COMPLAINT",
    "medical": "MEDICAL HISTORY",
    "background": "MEDICAL HISTORY",
    "medication": "MEDICATION ON ADMISSION",
    "allergies": "ALLERGIES",
    "exam": "PHYSICAL EXAM",
    "vitals": "PHYSICAL EXAM",
    "family": "FAMILY HISTORY",
    "social": "SOCIAL HISTORY",
    "habits": "SOCIAL HISTORY",
}
"""Topic → the section that holds it."""
