"""The script that builds the code table."""

import runpy


def test_build_script_reads_ranges_and_chapters(root):
    script = runpy.run_path(str(root / "scripts/build_code_table.py"))
    assert [script["chapter_of"](c) for c in ("D49", "D50", "QA0", "T88", "U07", "V00", "Z99")] == [
        *("II", "III", "XVII", "XIX", "XXII", "XX", "XXI")
    ]
    match = script["RANGE"].match("Pregnancy, childbirth and the puerperium (O00-O9A)")
    assert (match["first"], match["last"]) == ("O00", "O9A")
