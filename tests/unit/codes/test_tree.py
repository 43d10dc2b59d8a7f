"""Where a code stands in the tree: hand-worked cases and laws."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import codes
from deepicd.errors import CodeError

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

billable = st.sampled_from(codes.billable_codes())


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


@given(billable)
def test_siblings_are_siblings_of_each_other(code):
    for other in codes.siblings(code)[:5]:
        assert code in codes.siblings(other)
        assert codes.distance(code, other) == 2


@given(billable)
def test_descendants_are_the_children_and_what_is_below_them(code):
    category = codes.category(code)
    below = set()
    for child in codes.children(category):
        below |= {child, *codes.descendants(child)}
    assert set(codes.descendants(category)) == below


@given(billable, billable)
def test_two_paths_part_once_and_stay_apart(code, other):
    first, second = codes.path(code), codes.path(other)
    depth = codes.shared_depth(first, second)
    assert depth == codes.shared_depth(second, first) <= min(len(first), len(second))
    assert first[:depth] == second[:depth]
    assert not set(first[depth:]) & set(second[depth:])


@given(billable)
def test_every_node_of_a_path_has_the_chapter_and_the_titles_of_its_code(code):
    for node in codes.path(code)[2:]:
        assert codes.exists(node)
        assert codes.chapter(node) == codes.chapter(code)
        assert codes.chapter_title(node) == codes.title(codes.chapter(code))
        assert codes.title(node) and code.startswith(node)


@pytest.mark.parametrize(
    ("node", "parent", "children"),
    [
        ("IX", None, ("I00-I02", "I05-I09", "I10-I1A")),
        ("I20-I25", "IX", ("I20", "I21", "I22", "I23", "I24", "I25")),
        ("B20-B20", "I", ("B20",)),
        ("I25", "I20-I25", ("I251", "I252", "I253")),
        ("I251", "I25", ("I2510", "I2511")),
        ("I2510", "I251", ()),
    ],
)
def test_children_and_parents_of_every_kind_of_node(node, parent, children):
    assert codes.parent(node) == parent
    assert codes.children(node)[:3] == children[:3]
    assert all(codes.parent(child) == node for child in codes.children(node))
