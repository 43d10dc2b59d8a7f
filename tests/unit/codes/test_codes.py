"""The ICD-10-CM tree: releases, places, titles, retired codes."""

import itertools
import json
import random
import re
import runpy
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deepicd import codes
from deepicd.cli.codes import app
from deepicd.errors import CodeError

OFFICIAL_COUNTS = {
    2016: 69_832,
    2019: 71_932,
    2020: 72_184,
    2021: 72_621,
    2022: 72_750,
    2023: 73_674,
    2024: 74_044,
    2025: 74_260,
    2026: 74_719,
}
"""Billable codes a release, as published by CMS."""

PLACES = [
    ("C4A9", "II", "C43-C44", "C4A"),
    ("C7A00", "II", "C7A-C7A", "C7A"),
    ("C7B02", "II", "C7B-C7B", "C7B"),
    ("C801", "II", "C76-C80", "C80"),
    ("D3A00", "II", "D3A-D3A", "D3A"),
    ("D499", "II", "D49-D49", "D49"),
    ("D500", "III", "D50-D53", "D50"),
    ("D899", "III", "D80-D89", "D89"),
    ("E119", "IV", "E08-E13", "E11"),
    ("F0390", "V", "F01-F09", "F03"),
    ("G35", "VI", "G35-G37", "G35"),
    ("H59011", "VII", "H59-H59", "H59"),
    ("H6000", "VIII", "H60-H62", "H60"),
    ("I2510", "IX", "I20-I25", "I25"),
    ("M1A00X0", "XIII", "M05-M14", "M1A"),
    ("M9901", "XIII", "M99-M99", "M99"),
    ("O9A111", "XV", "O94-O9A", "O9A"),
    ("Q999", "XVII", "Q90-Q99", "Q99"),
    ("QA00101", "XVII", "QA0-QA0", "QA0"),
    ("R69", "XVIII", "R50-R69", "R69"),
    ("S0262XA", "XIX", "S00-S09", "S02"),
    ("T814XXA", "XIX", "T80-T88", "T81"),
    ("V0001XA", "XX", "V00-V09", "V00"),
    ("Y999", "XX", "Y90-Y99", "Y99"),
    ("Z3A20", "XXI", "Z30-Z39", "Z3A"),
    ("B20", "I", "B20-B20", "B20"),
    ("U071", "XXII", "U00-U49", "U07"),
]

RETIRED = [
    ("I481", 2019, ("I4811", "I4819")),
    ("N183", 2020, ("N1830", "N1831", "N1832")),
    ("R51", 2020, ("R510", "R519")),
    ("R05", 2021, ("R051", "R052", "R053", "R054", "R058", "R059")),
    ("G20", 2023, ("G20A1", "G20A2", "G20B1", "G20B2", "G20C")),
    ("M5136", 2024, ("M51360", "M51361", "M51362", "M51369")),
    ("K565", 2016, ("K5650", "K5651", "K5652")),
    ("S0262XA", 2016, ("S02620A", "S02621A", "S02622A")),
    ("T814XXA", 2016, ("T8140XA", "T8141XA", "T8142XA", "T8143XA", "T8144XA", "T8149XA")),
    ("T404X1A", 2020, ("T40411A", "T40421A", "T40491A")),
    ("H8141", 2019, ("H814",)),
    ("S060X2A", 2016, ()),
]

billable = st.sampled_from(codes.billable_codes())
blanks = st.sampled_from(["", " ", "\t", "\n", ".", " . "])


@pytest.mark.parametrize("release", codes.RELEASES)
def test_each_release_holds_as_many_billable_codes_as_published(release):
    assert len(codes.billable_codes(release)) == OFFICIAL_COUNTS[release]


@pytest.mark.parametrize(("code", "chapter", "block", "category"), PLACES)
def test_hard_ranges_are_placed_right(code, chapter, block, category):
    assert codes.chapter(code) == chapter
    assert codes.block(code) == block
    assert codes.category(code) == category


def test_every_chapter_begins_and_ends_where_the_classification_says():
    firsts = {c: codes.children(codes.children(c)[0])[0] for c in codes.CHAPTERS}
    lasts = {c: codes.children(codes.children(c)[-1])[-1] for c in codes.CHAPTERS}
    assert (firsts["II"], lasts["II"]) == ("C00", "D49")
    assert (firsts["III"], lasts["III"]) == ("D50", "D89")
    assert (firsts["VII"], lasts["VII"]) == ("H00", "H59")
    assert (firsts["VIII"], lasts["VIII"]) == ("H60", "H95")
    assert (firsts["XIX"], lasts["XIX"]) == ("S00", "T88")
    assert (firsts["XX"], lasts["XX"]) == ("V00", "Y99")
    assert (firsts["XXI"], lasts["XXI"]) == ("Z00", "Z99")
    assert {codes.chapter_title(firsts[c]) for c in firsts} == {codes.title(c) for c in firsts}


def test_ancestors_come_nearest_first():
    assert codes.ancestors("i25.10") == ("I251", "I25", "I20-I25", "IX")
    assert codes.ancestors("S02.62XA") == ("S0262", "S026", "S02", "S00-S09", "XIX")
    assert codes.ancestors("I10") == ("I10-I1A", "IX")


@given(billable, st.lists(blanks, min_size=8, max_size=8), st.booleans())
def test_spelling_does_not_matter(code, gaps, is_lower):
    text = "".join(gap + char for gap, char in zip(gaps, code, strict=False)) + gaps[-1]
    text = text.lower() if is_lower else text
    assert codes.normalise(text) == codes.normalise(codes.normalise(text)) == code
    assert codes.parse(text) == code
    assert codes.normalise(codes.dotted(text)) == code
    assert codes.path(text) == codes.path(code)


def test_only_ascii_letters_fold():
    assert not codes.exists("\u01311".replace("1", "10"))  # dotless i, upper case is I
    assert not codes.exists("\uff29\uff11\uff10")
    assert codes.normalise("\u0131") == "\u0131"


@given(billable)
def test_tree_laws_hold_for_every_code(code):
    path = codes.path(code)
    assert path == (*tuple(reversed(codes.ancestors(code))), code)
    assert (path[0], path[1], path[2]) == (
        codes.chapter(code),
        codes.block(code),
        codes.category(code),
    )
    for above, below in itertools.pairwise(path):
        assert codes.parent(below) == above
        assert below in codes.children(above)
    assert codes.parent(path[0]) is None
    assert code not in codes.siblings(code)
    assert all(codes.parent(other) == path[-2] for other in codes.siblings(code))
    assert set(codes.descendants(path[2])) >= set(path[3:])


@given(billable, billable, billable)
def test_distance_is_a_metric(one, two, three):
    assert codes.distance(one, one) == 0
    assert codes.distance(one, two) == codes.distance(two, one)
    assert (codes.distance(one, two) == 0) == (one == two)
    assert codes.distance(one, three) <= codes.distance(one, two) + codes.distance(two, three)


def test_distance_counts_edges():
    assert codes.distance("I25.110", "I25.111") == 2
    assert codes.distance("I25.110", "I25.10") == 3
    assert codes.distance("I2510", "I259") == 3
    assert codes.distance("I2510", "I251") == 1
    assert codes.distance("I10", "J189") == 3 + 4


@pytest.mark.parametrize(("code", "last", "following"), RETIRED)
def test_retired_codes_name_their_successors(code, last, following):
    assert codes.billable_releases(code)[-1] == last
    assert codes.successors(code) == following
    assert not codes.is_billable(code, 2026)
    assert codes.is_billable(code)


def test_successors_are_billable_when_the_code_is_gone():
    rng = random.Random(0)
    retired = [c for c in codes.billable_codes() if not codes.is_billable(c, 2026)]
    assert len(retired) == 75_724 - 74_719
    for code in rng.sample(retired, 300):
        gone = codes.RELEASES[codes.RELEASES.index(codes.billable_releases(code)[-1]) + 1]
        assert all(codes.is_billable(after, gone) for after in codes.successors(code))
    assert codes.successors("I2510") == ()


def test_validity_is_a_question_about_a_release():
    assert codes.is_billable("U07.1", 2021)
    assert not codes.exists("U07.1", 2019)
    assert codes.releases("U071") == (2021, 2022, 2023, 2024, 2025, 2026)
    assert codes.exists("M51.36", 2026)
    assert not codes.is_billable("M51.36", 2026)
    assert codes.is_billable("M51.36", 2024)
    assert codes.releases("nonsense") == codes.billable_releases("nonsense") == ()
    assert not codes.is_billable("I25")
    assert codes.exists("I25", 2016)


@pytest.mark.parametrize(
    ("text", "release", "message"),
    [
        ("I25.99", None, "any release: 'I25.99'$"),
        ("I25", None, "it is a header, use a code below it such as I25.10"),
        ("M51.36", 2026, "FY2026: 'M51.36' .billable in FY2016 to FY2024; now M51.360, M51.361"),
        ("I60.20", 2019, "billable in FY2016 to FY2016"),
        ("I10", 2018, "no table of fiscal year 2018; known: 2016, 2019"),
    ],
)
def test_parse_says_what_to_do_instead(text, release, message):
    with pytest.raises(CodeError, match=message):
        codes.parse(text, release)


@pytest.mark.parametrize(
    "look_up",
    [
        *(codes.title, codes.category, codes.block, codes.chapter, codes.chapter_title),
        *(codes.ancestors, codes.path, codes.parent, codes.children, codes.descendants),
        *(codes.siblings, codes.successors, codes.describe),
        lambda code: codes.distance(code, "I10"),
    ],
)
@pytest.mark.parametrize("text", ["I2599", "", "I1", "I100X", "💥", "I10\x00", "x" * 100_000])
def test_unknown_codes_are_refused_everywhere(look_up, text):
    with pytest.raises(
        CodeError, match="not an ICD-10-CM code of any release from FY2016 to FY2026"
    ):
        look_up(text)


def test_a_header_has_no_successors():
    with pytest.raises(CodeError, match=r"I25 is a header in every release"):
        codes.successors("I25")


def test_titles_are_clean_and_complete():
    for code in codes.billable_codes():
        title = codes.title(code)
        assert title and title == " ".join(title.split())
    assert codes.title("I25.10").startswith(
        "Atherosclerotic heart disease of native coronary artery"
    )
    assert codes.title("I20-I25") == "Ischemic heart diseases"
    assert codes.title("T814XXA") == "Infection following a procedure, initial encounter"


def test_every_code_agrees_with_simple_icd_10_cm():
    oracle = pytest.importorskip("simple_icd_10_cm", reason="simple-icd-10-cm 1.5.0 not installed")
    nodes = [c for c in oracle.get_all_codes(True) if "-" not in c and not c.isdigit()]
    assert {codes.normalise(c) for c in nodes} == {
        c for c in codes.table.load_table().masks if codes.exists(c, 2026)
    }
    for node in nodes:
        above = [codes.normalise(a) for a in oracle.get_ancestors(node)]
        here = codes.ancestors(node)
        assert above[-1] == str(codes.CHAPTERS.index(here[-1]) + 1)
        subcategories = [a for a in above if "-" not in a and 3 < len(a) < len(node)]
        assert [a for a in here[:-3] if codes.exists(a, 2026)] == subcategories
        assert oracle.is_leaf(node) == codes.is_billable(node, 2026)
        blocks = [a for a in above if "-" in a]
        assert not blocks or blocks == [here[-2]]  # a block of one category bears its name there


def test_the_pattern_of_billable_codes_matches_each_of_them_and_is_short():
    found = re.compile(codes.billable_pattern())
    assert len(found.pattern) < 60_000
    assert all(found.fullmatch(codes.dotted(code)) for code in codes.billable_codes())
    for other in ("I25", "I25.1", "I2510", "A00.00", "Z99.999", "", "I25.10 "):
        assert not found.fullmatch(other)
    assert not re.fullmatch(codes.billable_pattern(2026), "F32.8")  # retired: split in FY2017


@given(st.sets(st.text("AB1.", min_size=1, max_size=4)), st.text("AB1.", max_size=5))
def test_a_pattern_matches_its_words_and_nothing_else(words, other):
    found = re.compile(codes.pattern(words)) if words else re.compile(r"(?!)")
    assert all(found.fullmatch(word) for word in words)
    assert bool(found.fullmatch(other)) == (other in words)


def test_loads_within_40_megabytes():
    program = (
        "import resource, deepicd.codes as c; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; c.exists('I10'); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) < 40_000


def test_command_shows_a_code_as_json():
    result = CliRunner().invoke(app, ["show", "m51.36", "--json"])
    table = json.loads(result.stdout)
    assert table["code"] == "M51.36"
    assert table["successors"] == ["M51.360", "M51.361", "M51.362", "M51.369"]
    assert list(table["path"]) == ["XIII", "M50-M54", "M51", "M51.3", "M51.36"]
    assert table["billable_in"][-1] == 2024


def test_command_shows_headers_blocks_and_chapters():
    shown = {
        name: CliRunner().invoke(app, ["show", name]).stdout for name in ("I25", "B20-B20", "I")
    }
    assert "successors    none" in shown["I25"] and "billable      no" in shown["I25"]
    assert "children      B20" in shown["B20-B20"]
    assert "... (" in shown["I"]


def test_build_script_reads_ranges_and_chapters(root):
    script = runpy.run_path(str(root / "scripts/build_code_table.py"))
    assert [script["chapter_of"](c) for c in ("D49", "D50", "QA0", "T88", "U07", "V00", "Z99")] == [
        *("II", "III", "XVII", "XIX", "XXII", "XX", "XXI")
    ]
    match = script["RANGE"].match("Pregnancy, childbirth and the puerperium (O00-O9A)")
    assert (match["first"], match["last"]) == ("O00", "O9A")
