"""Corpora that are no English discharge summaries, with the variety of real ones; all invented."""

from collections.abc import Callable, Mapping
from itertools import product

_GERMAN = """Sehr geehrte Frau Kollegin, sehr geehrter Herr Kollege,

wir berichten über {who}, {age} Jahre alt, die sich vom 3. bis zum 11. Mai in unserer stationären
Behandlung befand.

Diagnosen:
{what}

Anamnese:
Die Aufnahme erfolgte notfallmäßig bei {sign} seit {days} Tagen. {who} gab an, dass die Beschwerden
vor allem nachts auftraten und nach der Einnahme von Schmerzmitteln nur wenig besser wurden.

Körperlicher Untersuchungsbefund:
Patient in reduziertem Allgemeinzustand, Herztöne rein und rhythmisch, Lunge seitengleich belüftet,
Abdomen weich, keine Abwehrspannung.

Therapie und Verlauf:
Unter der eingeleiteten Therapie kam es rasch zu einer Besserung der Beschwerden.

Entlassungsmedikation:
ASS 100 mg 1-0-0
"""
_SPANISH = """INFORME DE ALTA
Motivo de ingreso: {sign} de {days} días de evolución
Antecedentes personales: hipertensión arterial, {what}. No alergias medicamentosas conocidas.
Enfermedad actual: paciente de {age} años que acude a urgencias por {sign}, sin fiebre ni otros
síntomas. {who} refiere que el dolor empeora con el esfuerzo y mejora con el reposo.
Exploración física: consciente y orientado, auscultación cardiopulmonar normal, abdomen blando.
Evolución: durante el ingreso el paciente presentó una buena evolución clínica y se decidió el alta.
Tratamiento al alta: paracetamol 1 g cada 8 horas si dolor
"""
_RADIOLOGY = """EXAMINATION:  {view}

INDICATION:  ___ year old with {sign}  // {what}?

TECHNIQUE:  {view}, {days} images.

COMPARISON:  None available.

FINDINGS:

The heart is of normal size. The lungs are clear, and there is no effusion in patient {age}.

IMPRESSION:

No evidence of {what}.
"""
_REST = """Discharge Medications:
1. {what} {age} mg PO DAILY

Discharge Disposition:
{where}

Discharge Diagnosis:
{what}

Discharge Condition:
Mental Status: Clear and coherent. Walks {days} blocks.

Discharge Instructions:
You were admitted to the hospital with {sign}, and you got better with the treatment.
"""
_SHORT_GERMAN = "CC: {sign}\nHPI: {who}, {age} J., {sign} seit {days} Tagen. {what}."
_WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "German": {
        "who": ("Frau M.", "Herr K.", "der Patient"),
        "what": ("Akute Cholezystitis", "Pneumonie rechts basal", "Vorhofflimmern"),
        "sign": ("Oberbauchschmerzen", "Husten und Fieber", "Herzrasen"),
    },
    "short German": {
        "who": ("Frau M.", "Herr K.", "Pat."),
        "what": ("Akute Cholezystitis", "Pneumonie rechts basal", "VHF"),
        "sign": ("Schmerzen", "Husten und Fieber", "Schwindel"),
    },
    "Spanish": {
        "who": ("El paciente", "La paciente", "Su hija"),
        "what": ("diabetes mellitus tipo 2", "fibrilación auricular", "EPOC"),
        "sign": ("dolor torácico", "disnea", "dolor abdominal"),
    },
    "radiology": {
        "view": ("CHEST (PA AND LAT)", "CT HEAD W/O CONTRAST", "ABDOMEN (SUPINE)"),
        "what": ("pneumonia", "hemorrhage", "obstruction"),
        "sign": ("cough", "a fall", "vomiting"),
    },
    "discharge sections": {
        "where": ("Home", "Extended Care", "Home With Service"),
        "what": ("Aspirin", "Metoprolol", "Furosemide"),
        "sign": ("chest pain", "a pneumonia", "a fall"),
    },
}
_TEXTS = {
    "German": _GERMAN,
    "short German": _SHORT_GERMAN,
    "Spanish": _SPANISH,
    "radiology": _RADIOLOGY,
    "discharge sections": _REST,
}
REFUSALS: Mapping[str, str] = {
    "short German": r"100% of [34]\d notes in .* are texts that are not English.*translate them",
    "German": r"100% of [34]\d notes in .* are texts that are not English.*give the English notes",
    "Spanish": r"100% of [34]\d notes in .* are texts that are not English.*translate them first",
    "radiology": r"100% of [34]\d notes in .* are radiology reports; give the discharge summaries",
    "discharge sections": r"100% of [34]\d notes in .* of the stay and of the discharge only; "
    "give whole summaries",
}
"""Corpus → what a build of it says."""


def odd_texts(name: str, number: int) -> list[str]:
    """Different texts of one corpus."""
    words = _WORDS[name]
    choices = [dict(zip(words, chosen, strict=True)) for chosen in product(*words.values())]
    fill: Callable[..., str] = _TEXTS[name].format
    return [
        fill(**choices[one % len(choices)], age=30 + one, days=2 + one % 7) for one in range(number)
    ]
