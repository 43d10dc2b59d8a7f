"""The page of settings holds every one, as the classes have them now."""

import runpy

import pytest

from deepicd.config import known_addresses


@pytest.fixture(scope="module")
def settings(root):
    return runpy.run_path(str(root / "scripts" / "build_settings.py"))


def test_the_page_is_what_the_script_would_write(settings, root):
    page = (root / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == settings["page"](), "run scripts/build_settings.py"


def test_every_address_that_people_set_is_there_with_words(settings):
    rows = [line for line in settings["table"]().splitlines() if line.startswith("| `")]
    addresses = [line.split("`")[1] for line in rows]
    left_out = {"sweep.warm_start_trials", "sweep.warm_start_notes"}
    assert {*addresses} == {*known_addresses()} - left_out and len(set(addresses)) == len(addresses)
    assert not [line for line in rows if line.endswith("|  |")]
