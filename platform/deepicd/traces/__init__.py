"""Notes with gold codes → verified reasoning traces for supervised fine-tuning (SFT).

trace_file    rows as Parquet; the rules that every trace keeps to
corpus        traces of the embedded corpus, from its own profiles
collection    the traces of an experiment
prompt        what a teacher is asked
verifier      why a teacher's reply is no trace, by name
grounding     what a reasoning takes from its note
schedule      which note is asked next, label by label
teacher       a teacher behind an OpenAI-compatible endpoint
part_file     what a build has so far; survives kill -9
build         all of that: notes and a teacher → a file of traces and its card
card          what was asked, accepted and refused, by chapter and reason
inspection    `deepicd traces check` and `show`
"""

from deepicd.traces.collection import collect_traces, write_experiment_traces
from deepicd.traces.corpus import build_traces, trace_text
from deepicd.traces.trace_file import COLUMNS, check_traces, read_traces, write_traces

__all__ = [
    "COLUMNS",
    "build_traces",
    "check_traces",
    "collect_traces",
    "read_traces",
    "trace_text",
    "write_experiment_traces",
    "write_traces",
]
