"""Pictures as SVG, written by hand: bars and lines are all that is needed, and no library is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_COLOURS = ("#2a6f97", "#e07a5f", "#81b29a", "#8d6a9f", "#c9a227", "#555555")
_FONT = 'font-family="system-ui, sans-serif"'


def bars(title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], floor: float = 0.0) -> str:
    """Return horizontal bars as an SVG document: a group for each label, a bar for each of ``series``.

    Parameters
    ----------
    floor : where the bars begin.
    """
    bar, gap, left, width = 12, 10, 260, 820
    group = bar * len(series) + gap
    height = 70 + group * len(labels)
    highest = max((value for values in series.values() for value in values), default=floor + 1.0)
    scale = (width - left - 70) / max(highest - floor, 1e-9)
    parts = [_open(width, height), _text(16, 26, title, size=16)]
    for at, name in enumerate(series):
        parts.append(_box(left + 110 * at, 38, 10, 10, at))
        parts.append(_text(left + 110 * at + 14, 47, name))
    for row, label in enumerate(labels):
        top = 62 + row * group
        parts.append(_text(left - 8, top + group / 2 - 2, label, anchor="end"))
        for at, values in enumerate(series.values()):
            length = max(0.0, values[row] - floor) * scale
            parts.append(_box(left, top + at * bar, length, bar - 2, at))
            parts.append(_text(left + length + 5, top + at * bar + 9, f"{values[row]:.3f}", size=10))
    return "\n".join([*parts, "</svg>", ""])


def lines(title: str, unit: str, series: Mapping[str, Sequence[float]], hours_per_step: float) -> str:
    """Return lines over time as an SVG document; each of ``series`` has a value for each step."""
    width, height, left, bottom = 960, 360, 60, 40
    highest = max((value for values in series.values() for value in values), default=1.0) or 1.0
    steps = max((len(values) for values in series.values()), default=1)
    across, up = (width - left - 20) / max(steps - 1, 1), (height - bottom - 70) / highest
    parts = [_open(width, height), _text(16, 26, title, size=16)]
    for share in (0.0, 0.5, 1.0):
        y = height - bottom - share * highest * up
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - 20}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(left - 6, y + 4, f"{share * highest:.3g}", anchor="end"))
    for at, (name, values) in enumerate(series.items()):
        points = " ".join(
            f"{left + step * across:.1f},{height - bottom - value * up:.1f}"
            for step, value in enumerate(values)
        )
        colour = _COLOURS[at % len(_COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_box(left + 150 * at, 38, 10, 10, at))
        parts.append(_text(left + 150 * at + 14, 47, name))
    parts.append(_text(left, height - 12, f"{unit}, over {steps * hours_per_step:.3g} h"))
    return "\n".join([*parts, "</svg>", ""])


def _open(width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><rect width="100%" height="100%" fill="white"/>'
    )


def _box(x: float, y: float, width: float, height: float, colour: int) -> str:
    fill = _COLOURS[colour % len(_COLOURS)]
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {_FONT} font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
