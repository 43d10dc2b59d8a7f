"""Texts that are no English discharge summaries: told apart, counted, refused where most are."""

from pathlib import Path
from random import Random

import mimic_fixtures
import pytest
from composed_notes import compose
from short_texts import ENGLISH as SHORT_ENGLISH
from short_texts import OTHERS as SHORT

from deepicd.errors import DataError
from deepicd.notes.mimic.kinds import UNCLEAR, check_kinds, count_kinds, kind_of
from deepicd.notes.mimic.sections import cut_summary

SAID = "der Patient kam mit Schmerzen in der Brust und Atemnot, die seit drei Tagen bestanden. "
RADIOLOGY = """EXAMINATION:  CHEST (PA AND LAT)

INDICATION:  ___ year old woman with cough // pneumonia?

HISTORY:  cough for three days

TECHNIQUE:  Chest PA and lateral

COMPARISON:  ___

FINDINGS: the lungs are clear and there is no effusion.

IMPRESSION: no pneumonia.
"""
END = """Discharge Medications:
1. aspirin

Discharge Condition:
stable

Discharge Instructions:
you were admitted with pain and it went away
"""
OTHERS = {
    "German": ("not_english", f"Anamnese:\n{SAID * 5}\n\nEntlassungsdiagnose:\n{SAID}"),
    "German below English headers": ("not_english", f"CC:\nSchmerz\n\nHPI:\n{SAID * 5}"),
    "Spanish": ("not_english", "Motivo de ingreso: dolor. El paciente refiere tos. " * 9),
    "Chinese": ("not_english", "主诉：胸痛三天。现病史：患者三天前出现胸痛，伴有呼吸困难。" * 5),
    "Russian": ("not_english", "Жалобы: боль в груди. Анамнез: боли три дня. " * 5),
    "a short German note": ("not_english", "Patient kam mit Husten und Fieber seit drei Tagen."),
    "a short Spanish note": ("not_english", "Paciente con dolor desde hace tres días, sin fiebre"),
    "French": ("not_english", "Patiente admise avec douleur depuis trois jours, sans fièvre. " * 6),
    "Italian": ("not_english", "Il paziente riferisce dolore che dura da tre giorni, senza. " * 6),
    "Dutch": ("not_english", "Patient heeft een pijn of druk die niet voor het eten begint. " * 6),
    "Norwegian": ("not_english", "Pasienten ble innlagt for smerter som har vart til nå. " * 6),
    "Portuguese": ("not_english", "Paciente com uma dor há dois dias, sem febre, não tem. " * 6),
    "a short radiology report": ("radiology_report", "CHEST:\nFINDINGS: clear.\nIMPRESSION: ok."),
    "one of a reason and a wet read": (
        "radiology_report",
        "REASON FOR EXAM: fall\n\nFINAL REPORT\nCT head.\n\nWET READ: no bleed\n\nIMPRESSION: none",
    ),
    "a radiology report": ("radiology_report", RADIOLOGY),
    "one whose headers are in small letters": ("radiology_report", RADIOLOGY.lower()),
    "one with a bare history": (
        "radiology_report",
        "CHEST (PA AND LAT)\nHISTORY: cough\nFINDINGS: clear.\nIMPRESSION: no pneumonia.",
    ),
    "an ultrasound": (
        "radiology_report",
        "EXAMINATION: ULTRASOUND ABDOMEN\nHISTORY: pain in the abdomen\nPROCEDURE: grey scale and "
        "doppler images\nREPORT: the liver is normal\nCONCLUSION: normal study",
    ),
    "one whose headers have no colon": ("radiology_report", RADIOLOGY.replace(":  ", "\n")),
    "one on a single line": ("radiology_report", " ".join(RADIOLOGY.split())),
    "a pathology report": (
        "pathology_report",
        "SPECIMEN: right colon\nCLINICAL DATA: mass of the cecum\nGROSS DESCRIPTION: a colon of "
        "20 cm\nMICROSCOPIC DESCRIPTION: sections show an adenocarcinoma\nDIAGNOSIS: as above",
    ),
    "one on a line": (
        "pathology_report",
        "SPECIMEN RECEIVED: skin of the arm GROSS: an ellipse of skin MICROSCOPIC: a benign naevus",
    ),
    "the end of a summary": ("only_discharge_sections", END),
    "a course and an end": ("only_discharge_sections", f"Hospital Course:\nbetter\n\n{END}"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_kind_of_text_is_told_apart(name: str) -> None:
    kind, text = OTHERS[name]
    assert kind_of(text, cut_summary(text)) == kind


def test_a_summary_with_reports_of_imaging_in_it_is_a_summary() -> None:
    text = (
        f"Chief Complaint:\ncough\n\nHPI:\ncough for three days\n\nPMH:\nnone\n\n{RADIOLOGY}\n{END}"
    )
    assert kind_of(text, cut_summary(text)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "CC: CP\nHPI: 65M w/ CAD, DM2 p/w CP x 3d, no SOB, EKG nl, trop neg\nPMH: HTN, DM2, CAD",
        "HISTORY: cough since 3 d, no fever\nEXAM: clear\nIMPRESSION: viral",
        "HPI: cough since 3 d, no fever\nFindings: clear\nImpression: viral",
        "HPI: mass of the colon, specimen sent\nPMH: gout\nGross: no blood\nStudy: pending",
        "HPI: cough since 3 d, no fever\nExam: clear\nImpression: viral",
        "PMH: s/p R THA, OSA, h/o LES spasm, el pt seen, der consult, LOS 3 d, para 2, con't ASA",
        f'HPI: Mr. van der Berg said "una copa" con su hija. {"he has the pain " * 11}',
    ],
)
def test_telegrams_and_names_of_other_languages_are_english_summaries(text: str) -> None:
    assert kind_of(text, cut_summary(text)) in ("", UNCLEAR)
    assert count_kinds([kind_of(text, cut_summary(text))]) == {}


def test_composed_and_telegraphic_summaries_are_english() -> None:
    texts = [compose(Random(seed)).text for seed in range(300)]
    assert {kind_of(text, cut_summary(text)) for text in texts} == {""}


def test_kinds_are_counted_with_their_share() -> None:
    kinds = ["", "", "not_english", ""]
    assert count_kinds(kinds) == {"not_english": {"count": 1, "share": 0.25}}
    check_kinds(kinds, Path("notes.csv"))
    check_kinds([], Path("notes.csv"))


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("not_english", "give the English notes, or translate them"),
        ("radiology_report", "not note/radiology"),
        ("pathology_report", "pathology reports; give the discharge summaries"),
        ("only_discharge_sections", "give whole summaries"),
    ],
)
def test_a_table_that_is_mostly_of_another_kind_is_refused(kind: str, advice: str) -> None:
    with pytest.raises(DataError, match=rf"67% of 3 notes in notes.csv are .*{advice}"):
        check_kinds([kind, "", kind], Path("notes.csv"))


@pytest.mark.parametrize("language", SHORT)
def test_a_corpus_of_short_texts_in_another_language_is_refused_with_its_share(
    language: str,
) -> None:
    texts = SHORT[language].replace("\n", "|").split("|")
    kinds = [kind_of(text, cut_summary(text)) for text in texts]
    assert set(kinds) <= {"not_english", UNCLEAR}, [*zip(kinds, texts, strict=True)]
    with pytest.raises(DataError, match=r"100% of (10|20) notes in n.csv are texts .* not E"):
        check_kinds(kinds, Path("n.csv"))


def test_a_corpus_of_short_texts_in_english_is_english() -> None:
    kinds = [kind_of(text, cut_summary(text)) for text in SHORT_ENGLISH.split("|")]
    assert set(kinds) == {"", UNCLEAR} and kinds.count("") > 10 and count_kinds(kinds) == {}


def test_telegrams_of_any_length_are_english() -> None:
    layout = mimic_fixtures.BRIEF
    texts = [
        layout.format(number=one, sign=sign, days=one, pulse=70)
        for one, sign in enumerate(mimic_fixtures.SIGNS)
    ]
    assert count_kinds([kind_of(text, cut_summary(text)) for text in texts]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "Potilas tuli rintakivun vuoksi. Kipu alkoi aamulla ja jatkui koko tunnin. " * 10,
        "Pasien datang karena nyeri dada sejak tadi pagi dan sesak napas berat. " * 10,
        "A beteg mellkasi panasz miatt jelentkezett, a panasz reggel kezdődött. " * 10,
    ],
)
def test_long_texts_of_a_language_without_a_list_are_not_english(text: str) -> None:
    assert kind_of(text, cut_summary(text)) == "not_english"


def test_a_few_short_texts_of_another_language_are_counted() -> None:
    texts = [*SHORT_ENGLISH.split("|"), *SHORT["German"].split("|")[:3]]
    found = count_kinds([kind_of(text, cut_summary(text)) for text in texts])
    assert found["not_english"]["count"] == 3
