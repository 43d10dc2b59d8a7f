"""One experiment file → one frozen, fully typed `Experiment`. Every value has one address.

In: a TOML file (sparse; defaults fill the rest) and `--set a.b=1` overrides. Out: `Experiment`, and
its resolved form as JSON beside the results. Precedence: defaults, file, overrides. Unknown keys
are refused with the nearest valid one. Paths of a file or of `--set` count from
the working directory, and are absolute once they are read.
"""

from deepicd.config.addresses import flatten, known_addresses, nearest
from deepicd.config.data import DataConfig, TableColumns, options_of_source
from deepicd.config.endpoints import LOOPBACK
from deepicd.config.evaluation import EvaluationConfig
from deepicd.config.experiment import (
    HEAD_WIDTHS,
    MLP_RATIO,
    Experiment,
    JudgeConfig,
    ModelConfig,
    PromotionConfig,
    RewardConfig,
    ServingConfig,
    SFTConfig,
    TrainingConfig,
)
from deepicd.config.inspection import Inspection, inspect_experiment, with_values
from deepicd.config.loading import (
    differing,
    dump_experiment,
    fingerprint,
    inspect_file,
    load_experiment,
    override,
    parse_build_options,
    parse_experiment,
    parse_traces_options,
    read_experiment,
    single_training,
)
from deepicd.config.search_checks import extreme_trials
from deepicd.config.search_size import Space
from deepicd.config.search_space import (
    Choice,
    Domain,
    FloatRange,
    IntRange,
    Search,
    all_values,
    draw_trial,
    in_order,
    with_parents,
)
from deepicd.config.strict_model import MAX_NUMBER, MAX_SEED, MAX_WHOLE, Scalar, Seed, StrictModel
from deepicd.config.sweep import MINIMISED, SweepConfig, WarmStartTrial
from deepicd.config.traces import TEACHER_PATIENCE, TracesConfig

__all__ = [
    "HEAD_WIDTHS",
    "LOOPBACK",
    "MAX_NUMBER",
    "MAX_SEED",
    "MAX_WHOLE",
    "MINIMISED",
    "MLP_RATIO",
    "TEACHER_PATIENCE",
    "Choice",
    "DataConfig",
    "Domain",
    "EvaluationConfig",
    "Experiment",
    "FloatRange",
    "Inspection",
    "IntRange",
    "JudgeConfig",
    "ModelConfig",
    "PromotionConfig",
    "RewardConfig",
    "SFTConfig",
    "Scalar",
    "Search",
    "Seed",
    "ServingConfig",
    "Space",
    "StrictModel",
    "SweepConfig",
    "TableColumns",
    "TracesConfig",
    "TrainingConfig",
    "WarmStartTrial",
    "all_values",
    "differing",
    "draw_trial",
    "dump_experiment",
    "extreme_trials",
    "fingerprint",
    "flatten",
    "in_order",
    "inspect_experiment",
    "inspect_file",
    "known_addresses",
    "load_experiment",
    "nearest",
    "options_of_source",
    "override",
    "parse_build_options",
    "parse_experiment",
    "parse_traces_options",
    "read_experiment",
    "single_training",
    "with_parents",
    "with_values",
]
