"""A domain in another tool's spelling, an address without quotes: the error has what was meant."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.config import inspect_experiment, known_addresses, load_experiment, parse_experiment
from deepicd.config.addresses import set_address
from deepicd.config.domain_spelling import check_domain, write_domain
from deepicd.errors import ConfigError

RATE = "training.learning_rate"
LOG = '{ type = "loguniform", low = 1e-05, high = 0.001 }'
WHOLE = '{ type = "int", low = 2, high = 8 }'
FLAT = '{ type = "uniform", low = 0.1, high = 0.9 }'


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        # Optuna
        ("{ low = 1e-5, high = 1e-3, log = true }", LOG),
        ('{ type = "uniform", low = 1e-5, high = 1e-3, log = true }', LOG),
        ('{ type = "float", low = 1e-5, high = 1e-3, log = true }', LOG),
        ('{ type = "categorical", choices = [1, 2] }', '{ type = "choice", values = [1, 2] }'),
        ("\"trial.suggest_float('lr', 1e-5, 1e-3, log=True)\"", LOG),
        ("\"suggest_categorical('n', [4, 8])\"", '{ type = "choice", values = [4, 8] }'),
        ("{ low = 2, high = 8, step = 2 }", WHOLE),
        # Weights & Biases
        ('{ distribution = "log_uniform_values", min = 1e-5, max = 1e-3 }', LOG),
        ('{ distribution = "uniform", min = 0.1, max = 0.9 }', FLAT),
        ('{ distribution = "int_uniform", min = 2, max = 8 }', WHOLE),
        ('{ distribution = "q_uniform", min = 0.1, max = 0.9, q = 0.1 }', FLAT),
        ("{ min = 0.1, max = 0.9 }", FLAT),
        ("{ values = [0.1, 0.2] }", '{ type = "choice", values = [0.1, 0.2] }'),
        ("{ value = 0.1 }", '{ type = "choice", values = [0.1] }'),
        # Ray Tune
        ("{ lower = 0.1, upper = 0.9 }", FLAT),
        ('"tune.loguniform(1e-5, 1e-3)"', LOG),
        ('{ type = "tune.loguniform", lower = 1e-5, upper = 1e-3 }', LOG),
        ('"tune.randint(2, 9)"', WHOLE),
        ('"tune.choice([4, 8])"', '{ type = "choice", values = [4, 8] }'),
        ("{ grid_search = [4, 8] }", '{ type = "choice", values = [4, 8] }'),
        # slips
        ('{ type = "log-uniform", low = 1e-5, high = 1e-3 }', LOG),
        ('{ type = "LogUniform", low = 1e-5, high = 1e-3 }', LOG),
        ("[0.1, 0.2]", '{ type = "choice", values = [0.1, 0.2] }'),
        ("0.1", '{ type = "choice", values = [0.1] }'),
        ('{ type = "choice", options = [1], when = { seed = 1 } }',
         '{ type = "choice", values = [1], when = { "seed" = 1 } }'),
    ],
)  # fmt: skip
def test_another_spelling_is_refused_with_the_one_that_was_meant(written, meant):
    table = tomllib.loads(f'[sweep.search]\n"{RATE}" = {written}')
    with pytest.raises(ConfigError) as told:
        parse_experiment(table, "here")
    assert f"here: sweep.search.{RATE}: is no domain: " in str(told.value)
    assert f"; write {meant}" in str(told.value)
    assert "discriminator" not in str(told.value) and "Input should be" not in str(told.value)
    assert check_domain(tomllib.loads(f"a = {meant}")["a"]), "what is told is a domain"


def test_the_key_that_no_domain_has_is_named():
    for written, words in [
        ("{ low = 1, high = 2, log = true }", "`type` is missing, `log` is no key of one"),
        ('{ type = "float", low = 1, high = 2 }', '"float" is no type of one'),
        ('{ type = "uniform", min = 1, max = 2 }', "`min`, `max` is no key of one"),
        ('"0.1"', "it has to be a table with a type"),
    ]:
        with pytest.raises(ConfigError, match=words):
            parse_experiment(tomllib.loads(f'[sweep.search]\n"{RATE}" = {written}'), "here")


@pytest.mark.parametrize(
    "written", ["{}", '{ distribution = "normal", mu = 0, sigma = 1 }', "{ q = 1 }"]
)
def test_what_nobody_could_translate_is_refused_with_the_forms_of_a_domain(written):
    with pytest.raises(ConfigError, match=r"is no domain: .*; write .*\"uniform\".* \"choice\""):
        parse_experiment(tomllib.loads(f'[sweep.search]\n"{RATE}" = {written}'), "here")


@pytest.mark.parametrize(
    "text",
    [
        f"[sweep.search]\n{RATE} = {LOG}",
        f"[sweep.search.{RATE}]\ntype = 'loguniform'\nlow = 1e-5\nhigh = 1e-3",
        "[sweep]\nsearch.training.learning_rate = { min = 1e-5, max = 1e-3, log = true }",
    ],
)
def test_an_address_without_quotes_is_told_with_them(text):
    with pytest.raises(ConfigError) as told:
        parse_experiment(tomllib.loads(text), "here")
    assert f'; write "{RATE}" = {LOG}' in str(told.value)


def test_a_key_of_verl_without_quotes_is_told_with_them():
    with pytest.raises(ConfigError, match=r'quotes; write "actor_rollout_ref\.actor\.x" = …'):
        parse_experiment({"verl": {"actor_rollout_ref": {"actor": {"x": 1}}}}, "here")


@pytest.mark.parametrize(
    "override",
    [
        f'sweep.search."{RATE}"={LOG}',
        f"sweep.search.'{RATE}'={LOG}",
        f"sweep.search.{RATE}={LOG}",
    ],
)
def test_a_domain_is_given_by_set_with_or_without_quotes(tmp_path, override):
    (tmp_path / "a.toml").write_text("")
    (found,) = load_experiment(tmp_path / "a.toml", [override]).sweep.search.items()
    assert (found[0], found[1].type, found[1].low, found[1].high) == (
        RATE,
        "loguniform",
        1e-5,
        1e-3,
    )


def test_one_key_of_a_domain_is_given_by_set(tmp_path):
    (tmp_path / "a.toml").write_text(f'[sweep.search]\n"{RATE}" = {LOG}')
    for override in (f"sweep.search.{RATE}.high=0.01", f'sweep.search."{RATE}".high=0.01'):
        search = load_experiment(tmp_path / "a.toml", [override]).sweep.search
        assert (search[RATE].low, search[RATE].high) == (1e-5, 0.01)


@pytest.mark.parametrize(
    ("table", "meant"),
    [
        ({"parameters": {RATE: {"min": 1}}}, "sweep.search"),
        ({"sweep": {"parameters": {}}}, "sweep.search"),
        ({"sweep": {"method": "bayes"}}, "sweep.sampler"),
        ({"sweep": {"num_samples": 8}}, "sweep.num_trials"),
        ({"n_trials": 8}, "sweep.num_trials"),
    ],
)
def test_a_key_of_another_tool_is_told_where_it_is_here(table, meant):
    with pytest.raises(ConfigError, match=rf"unknown key .* \(here: {meant}\); correct it"):
        parse_experiment(table, "here")


ANOTHER_KIND = [{"x": {"y": 1}}, [[1]], [{"a": 1}], 10**30, "§", True, 1.5]


@pytest.mark.parametrize("value", ANOTHER_KIND, ids=repr)
def test_a_value_of_another_kind_is_one_fault_in_plain_words(value):
    for address in known_addresses():
        check_faults(address, value)


def check_faults(address, value):
    table = {}
    set_address(table, address, value)
    for fault in inspect_experiment(table).faults:
        assert address in fault.place or address in fault.rule, fault
        assert "[" not in fault.place, fault
        for words in ("valid dictionary", "instance of", "tuple", "discriminator", "<class"):
            assert words not in fault.rule.partition("; got ")[0], fault
    places = [fault.place for fault in inspect_experiment(table).faults]
    assert len(places) == len({*places}), "a union tells why for each of its types"


def test_a_value_that_is_no_domain_is_refused_from_set_too(tmp_path):
    (tmp_path / "a.toml").write_text("")
    with pytest.raises(
        ConfigError, match=r"sweep\.search\.seed: is no domain: .*low = 1, high = 9"
    ):
        load_experiment(tmp_path / "a.toml", ["sweep.search.seed=randint(1, 10)"])


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "low", "high", "values", "log", "min", "max", "distribution", "x"]
            ),
            below,
            max_size=4,
        )
    ),
    max_leaves=6,
)


@given(anything)
def test_whatever_stands_there_is_a_domain_or_a_config_error(value):
    try:
        parse_experiment({"sweep": {"search": {"training.temperature": value}}}, "here")
    except ConfigError as error:
        assert "sweep.search.training.temperature" in str(error)  # noqa: PT017
    assert write_domain({"low": 1}) == "{ low = 1 }"
