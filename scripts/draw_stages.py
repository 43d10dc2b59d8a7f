"""The stages of a run as a picture: `docs/pictures/stages.svg`.

In: `pipeline.stage.STAGES`. Out: a box for each stage with what it writes, and arrows from the
stages whose outputs it reads. Run it again when stages change; a test compares.
"""

from html import escape
from pathlib import Path

from deepicd.pipeline.stage import STAGES, Stage

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "stages.svg"
WIDTH, HEIGHT, GAP, LEFT = 560, 40, 22, 200
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1a1a1a }
  .small { font-size: 11px; fill: #555 }
  rect { fill: #eef3fa; stroke: #4a6fa5; rx: 6 }
  .shared { fill: #e8f5e9; stroke: #3c8d40 }
  .kept { stroke-dasharray: 5 3 }
  path { fill: none; stroke: #888; stroke-width: 1.2; marker-end: url(#tip) }
"""


def draw() -> str:
    """The picture, as SVG."""
    names = list(STAGES)
    boxes = [_box(stage, _top(number)) for number, stage in enumerate(STAGES.values())]
    arrows = [
        _arrow(names.index(before), number)
        for number, stage in enumerate(STAGES.values())
        for before in stage.after
    ]
    height = _top(len(names)) + 40
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {height}" '
            'role="img" aria-label="The stages of a run, what each writes and reads">',
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            *arrows,
            *boxes,
            f'<text class="small" x="{LEFT}" y="{height - 24}">green: taken over from another run '
            "of the same inputs · an arrow: reads what that stage wrote</text>",
            f'<text class="small" x="{LEFT}" y="{height - 8}">dashed: goes on from its parts after '
            "an interruption; the others begin again</text>",
            "</svg>\n",
        ]
    )


def _top(number: int) -> int:
    return 10 + number * (HEIGHT + GAP)


def _box(stage: Stage, top: int) -> str:
    kinds = [("shared", stage.is_shared), ("kept", stage.has_parts)]
    classes = " ".join(name for name, is_so in kinds if is_so)
    folders = dict.fromkeys(output.split("/")[0] for output in stage.outputs)
    outputs = ", ".join(escape(name) for name in folders)
    return (
        f'<rect class="{classes}" x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}"/>'
        f'<text x="{LEFT + 14}" y="{top + 25}">{stage.name}</text>'
        f'<text class="small" x="{LEFT + 130}" y="{top + 25}">writes {outputs}</text>'
    )


def _arrow(start: int, end: int) -> str:
    """Straight down to the next stage, in a bow on the left to a later one."""
    if end == start + 1:
        middle = LEFT + 60
        return f'<path d="M{middle} {_top(start) + HEIGHT} L{middle} {_top(end)}"/>'
    top, bottom = _top(start) + HEIGHT - 8, _top(end) + 10 + 3 * start
    out = LEFT - 22 * (end - start)
    return f'<path d="M{LEFT} {top} C{out} {top} {out} {bottom} {LEFT} {bottom}"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"wrote {PICTURE}")
