"""Notes that several tests of split files build."""

from deepicd.records import Note


def note_of(number: int, *, patient: int | None = None, code: str = "I214") -> Note:
    patient = number if patient is None else patient
    return Note(f"n{number:04}", f"p{patient}", f"a{number}", f"CHIEF COMPLAINT: {number}", code)
