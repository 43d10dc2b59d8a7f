"""What a GPU costs by the hour: a dated table of machines, the package's own or one's own.

In: a TOML file like `data/prices.toml`, and the name of a machine or of a GPU. Out: the machines
that it names. Nothing is asked over the network, so a price is as good as the table's date.
"""

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from pydantic import Field, ValidationError

from deepicd.config import StrictModel, nearest
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.text_lines import read_text


class Machine(StrictModel):
    """One kind of machine that can be rented."""

    provider: str
    name: str
    """The provider's name of it."""
    gpu: str
    num_gpus: int = Field(ge=1)
    gpu_memory_gib: float = Field(gt=0)
    """Memory of one GPU, in GiB."""
    usd_per_hour: float = Field(ge=0)
    """Price of the whole machine, in USD per hour."""
    regions: tuple[str, ...] = ()
    """Regions in which the provider lists it, as far as they were looked up; empty: not known."""

    @property
    def usd_per_gpu_hour(self) -> float:
        """Its share for one GPU, as if all of them were used."""
        return self.usd_per_hour / self.num_gpus


class PriceTable(StrictModel):
    """Prices of one day."""

    as_of: str
    """When they were looked up: YYYY-MM, or a day."""
    source: str
    """Where they are from, in words."""
    machines: tuple[Machine, ...] = Field(min_length=1)


def read_prices(path: Path | None = None) -> PriceTable:
    """The table in a file; the package's own without one.

    Raises:
        MissingError: no such file.
        ConfigError: not TOML, or not such a table.
    """
    file = path or Path(str(resources.files("deepicd").joinpath("data/prices.toml")))
    if not file.is_file():
        raise MissingError(f"no price table at {file}; deepicd/data/prices.toml shows its form")
    try:
        return PriceTable.model_validate(tomllib.loads(read_text(file)))
    except (tomllib.TOMLDecodeError, ValidationError, DataError) as error:
        raise ConfigError(
            f"{file} is no price table like deepicd/data/prices.toml: {error}"
        ) from None


def find_machines(table: PriceTable, name: str) -> Sequence[Machine]:
    """Machines of that name or with that GPU, cheapest GPU-hour first; case does not matter.

    Raises:
        ConfigError: the table has neither.
    """
    wanted = name.casefold()
    matching = [
        machine
        for machine in table.machines
        if wanted in (machine.name.casefold(), machine.gpu.casefold())
    ]
    if matching:
        return sorted(matching, key=lambda machine: machine.usd_per_gpu_hour)
    names = sorted({word for machine in table.machines for word in (machine.gpu, machine.name)})
    raise ConfigError(
        f"no machine or GPU {name!r} in the price table of {table.as_of}{nearest(name, names)}; "
        f"known: {', '.join(names)}; --prices FILE takes a table of your own"
    )
