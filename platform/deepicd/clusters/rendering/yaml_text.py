"""YAML of rendered files: the same text for the same values, and blocks that people can read.

In: plain values, in the order in which they are to stand. Out: text. Decided here: no key is
sorted, no anchor is made, a text of several lines stands as a block, and the first line says what
the file was made from.
"""

from typing import Any

_WIDTH = 100


def yaml_text(*documents: Any, name: str) -> str:
    """Documents of one file, made from the description of that name."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Without anchors, and with blocks."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
        style = "|" if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    body = yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=_WIDTH)
    return f"{first_line(name)}{body}"


def first_line(name: str) -> str:
    """The comment that says what a file was made from."""
    return (
        f"# Made from the description of {name} by `deepicd cluster render`: change that one, "
        "and render again.\n"
    )
