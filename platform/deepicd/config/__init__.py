"""One experiment file → one frozen, fully typed `Experiment`. Every value has one address.

In: a TOML file (sparse; defaults fill the rest) and `--set a.b=1` overrides. Out: `Experiment`, and
its resolved form as JSON beside the results. Precedence: defaults, file, overrides. Unknown keys
are refused with the nearest valid one. Paths of a file or of `--set` count from
the working directory, and are absolute once they are read.
"""

from deepicd.config.addresses import flatten, known_addresses, nearest
from deepicd.config.evaluation import EvaluationConfig
from deepicd.config.experiment import (
    HEAD_WIDTHS,
    MLP_RATIO,
    DataConfig,
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
    parse_experiment,
    read_experiment,
    single_training,
)
from deepicd.config.search_space import (
    Choice,
    Domain,
    FloatRange,
    IntRange,
    Search,
    all_values,
    distinct_trials,
    draw_trial,
    extreme_trials,
    in_order,
    with_parents,
)
from deepicd.config.strict_model import Scalar, StrictModel
from deepicd.config.sweep import MINIMISED, SweepConfig, WarmStartTrial

__all__ = [
    "HEAD_WIDTHS",
    "MINIMISED",
    "MLP_RATIO",
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
    "ServingConfig",
    "StrictModel",
    "SweepConfig",
    "TrainingConfig",
    "WarmStartTrial",
    "all_values",
    "differing",
    "distinct_trials",
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
    "override",
    "parse_experiment",
    "read_experiment",
    "single_training",
    "with_parents",
    "with_values",
]
