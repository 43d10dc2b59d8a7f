"""Training notes of patients whom SFT has not seen: what GRPO learns from.

A start model has read its traces' notes with the answer; rewards on them, or on other notes of the
same patients, would pay for remembering.
"""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepicd.errors import DataError


def leave_out_patients(split: Path, patients: Collection[str], out: Path) -> int:
    """Write the rows of a split whose patient is not among `patients`, in its order.

    Returns:
        Number of notes written.

    Raises:
        DataError: none is left; nothing is written.
    """
    notes = pq.read_table(split)
    is_known = pc.is_in(notes["patient_id"], value_set=pa.array(sorted(patients), pa.string()))
    rest = notes.filter(pc.invert(is_known))
    if not rest.num_rows:
        raise DataError(
            f"every patient of {split} has a trace, so no note is left for GRPO; lower "
            "sft.num_traces or build more notes"
        )
    aside = out.with_name(f".{out.name}.partial")
    pq.write_table(rest, aside)
    aside.replace(out)
    return int(rest.num_rows)
