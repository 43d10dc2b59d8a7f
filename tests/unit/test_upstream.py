"""A reach into private code runs with the version it was written for, and with no other."""

from importlib.metadata import version

import pytest

from deepicd.errors import UpstreamError
from deepicd.upstream import require_version


def test_the_version_that_was_read_is_let_through():
    require_version("pytest", version("pytest"), "this test")


def test_each_of_several_versions_that_were_read_is_let_through():
    require_version("pytest", ("0.1", version("pytest")), "this test")
    with pytest.raises(UpstreamError, match=r"written for pytest 0\.1 or 0\.2; installed is"):
        require_version("pytest", ("0.1", "0.2"), "this test")


def test_another_version_is_refused_with_both_versions_and_the_way_out():
    with pytest.raises(
        UpstreamError, match=r"this test is written for pytest 0\.1; .*upstream\.md"
    ):
        require_version("pytest", "0.1", "this test")
