"""The exception tree: drawn as it is, picklable, with one exit code a kind."""

import copy
import inspect
import pickle
import re

import pytest

from deepicd import errors
from deepicd.errors import DeepICDError

CLASSES = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, DeepICDError) and error is not DeepICDError
]


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_survives_the_way_between_ray_workers(error):
    raised = error("rule, value, place, way out")
    for copied in (pickle.loads(pickle.dumps(raised)), copy.copy(raised)):
        assert type(copied) is error
        assert str(copied) == "rule, value, place, way out"
        assert copied.exit_code == error.exit_code


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_is_one_of_ours_and_of_a_standard_kind(error):
    ours, standard = error.__bases__
    assert ours is DeepICDError
    assert standard in (ValueError, RuntimeError, FileNotFoundError)
    assert error.__doc__


def test_exit_codes_are_what_scripts_rely_on():
    assert {error.__name__: error.exit_code for error in CLASSES} == {
        "CapacityError": 5,
        "CheckpointError": 7,
        "CodeError": 3,
        "ConfigError": 2,
        "DataError": 3,
        "ExhaustedError": 12,
        "JudgeError": 11,
        "MissingError": 4,
        "MonitoringError": 9,
        "PromotionError": 10,
        "ServingError": 8,
        "SweepError": 6,
        "TeacherError": 13,
        "TrainingError": 6,
        "UpstreamError": 6,
    }
    assert DeepICDError.exit_code == 1


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = dict(re.findall(r"[├└]── (\w+) +\((\w+)\)", errors.__doc__))
    assert drawn == {error.__name__: error.__bases__[1].__name__ for error in CLASSES}
