"""Charts as inline SVG: no script, colours from the page's style sheet, a text for readers who do not see them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

# More points than this in one line of a chart are not seen.
FINEST = 600


@dataclass(frozen=True)
class Series:
    """One line of a timeline.

    Attributes:
        label: What it shows.
        values: (T,) one value per moment; NaN where there is none.
        color: A colour of the style sheet, such as ``accent``.
    """

    label: str
    values: Float[np.ndarray, " T"]
    color: str = "accent"


def histogram2d(
    counts: Float[np.ndarray, "R C"],
    *,
    x_edges: Sequence[float],
    y_edges: Sequence[float],
    x_label: str,
    y_label: str,
    title: str,
    unit: str,
) -> str:
    """A grid of cells, darker where more was counted, with the count in every cell that has one.

    Args:
        counts: (R, C) what to show; row 0 is the lowest.
        x_edges: C + 1 borders of the columns.
        y_edges: R + 1 borders of the rows.
        x_label: What the columns are, with their unit.
        y_label: What the rows are.
        title: Text for readers who do not see the chart.
        unit: Unit of the counts.
    """
    rows, columns = counts.shape
    wide, high, left, top = 38.0, 26.0, 58.0, 8.0
    most = max(float(counts.max()), 1e-9) if counts.size else 1.0
    parts = []
    for row, column in np.ndindex(rows, columns):
        value = float(counts[row, column])
        x, y = left + column * wide, top + (rows - 1 - row) * high
        place = f'x="{x:.0f}" y="{y:.0f}" width="{wide - 1:.0f}" height="{high - 1:.0f}"'
        if value <= 0:
            parts.append(f'<rect {place} fill="var(--panel)"/>')
            continue
        # The root lets rare views be seen beside the common one; text needs a ground that is not too strong.
        strength = 0.12 + 0.5 * (value / most) ** 0.5
        parts.append(f'<rect {place} fill="var(--accent)" fill-opacity="{strength:.2f}"/>')
        shown = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
        parts.append(f'<text class=ink x="{x + wide / 2:.0f}" y="{y + 17:.0f}" text-anchor="middle">{shown}</text>')
    bottom = top + rows * high
    parts += [
        f'<text x="{left + index * wide:.0f}" y="{bottom + 18:.0f}" text-anchor="middle">{edge:g}</text>'
        for index, edge in enumerate(x_edges)
    ]
    parts += [
        f'<text x="{left - 6:.0f}" y="{bottom - index * high + 4:.0f}" text-anchor="end">{edge:g}</text>'
        for index, edge in enumerate(y_edges)
    ]
    parts.append(_centred(x_label, left + columns * wide / 2, bottom + 36))
    parts.append(_turned(y_label, 14, top + rows * high / 2))
    return _svg(left + columns * wide + 20, bottom + 42, title=f"{title} ({unit})", parts=parts)


def timeline(
    time: Float[np.ndarray, " T"],
    series: Sequence[Series],
    *,
    label: str,
    title: str,
    limit: float | None = None,
    gaps: Iterable[tuple[float, float]] = (),
    floor: float = 0.0,
    marks: Iterable[tuple[float, str]] = (),
    unit: str = "seconds",
) -> str:
    """Lines over time, the largest value of each short stretch, with missing stretches shaded.

    Args:
        time: (T,) seconds, increasing; T > 0.
        series: The lines; they share one axis.
        label: What the axis shows, with its unit.
        title: Text for readers who do not see the chart.
        limit: A value drawn as a dashed line.
        gaps: Starts and ends in seconds of stretches to shade.
        floor: Where the axis starts; of values with another floor than zero the smallest of each stretch is drawn.
        marks: Moments in seconds and a short text above each.
        unit: What the lower axis is in.
    """
    marks = list(marks)
    wide, high, left, top = 640.0, 150.0, 66.0, 22.0 if marks else 8.0
    finite = [values[np.isfinite(values)] for values in (np.asarray(s.values, float) for s in series)]
    largest = max([float(values.max()) for values in finite if len(values)] + [limit or 0.0, 1e-9])
    steps = _ticks(floor, max(largest, floor + 1e-9))
    span = max(float(time[-1] - time[0]), 1e-9)
    bottom = top + high

    def across(moment: float) -> float:
        return left + (moment - float(time[0])) / span * wide

    def up(value: float) -> float:
        return bottom - (value - steps[0]) / (steps[-1] - steps[0]) * high

    parts = [
        f'<rect x="{across(start):.1f}" y="{top}" width="{max(across(stop) - across(start), 1.5):.1f}" height="{high}" '
        'fill="var(--bad)" fill-opacity=".18"/>'
        for start, stop in gaps
    ]
    for step in steps:
        parts.append(f'<path d="M{left} {up(step):.1f}h{wide}" stroke="var(--line)"/>')
        parts.append(f'<text x="{left - 6}" y="{up(step) + 4:.1f}" text-anchor="end">{step:g}</text>')
    parts += [
        f'<text x="{across(moment):.1f}" y="{bottom + 19}" text-anchor="middle">{moment:g}</text>'
        for moment in _ticks(float(time[0]), float(time[-1]), inside=True)
    ]
    parts.append(_centred(unit, left + wide / 2, bottom + 37))
    parts.append(_turned(label, 14, top + high / 2))
    if limit is not None:
        parts.append(f'<path d="M{left} {up(limit):.1f}h{wide}" stroke="var(--bad)" stroke-dasharray="6 4"/>')
    for moment, text in marks:
        x = across(moment)
        anchor = "start" if x < left + 40 else "end" if x > left + wide - 40 else "middle"
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="var(--faint)" stroke-dasharray="2 3"/>')
        parts.append(f'<text class=ink x="{x:.1f}" y="{top - 8}" text-anchor="{anchor}">{html.escape(text)}</text>')
    for line in series:
        moments, values = _thinned(np.asarray(time, float), np.asarray(line.values, float), smallest=floor != 0)
        path, pen = [], "M"
        for moment, value in zip(moments, values, strict=True):
            if not np.isfinite(value):
                pen = "M"
                continue
            path.append(f"{pen}{across(moment):.1f} {up(value):.1f}")
            pen = "L"
        parts.append(
            f'<path d="{"".join(path)}" fill="none" stroke="var(--{line.color})" stroke-width="1.6" '
            'stroke-linejoin="round" stroke-linecap="round"/>'
        )
    chart = _svg(left + wide + 16, bottom + 43, title=title, parts=parts)
    return chart if len(series) == 1 else chart + _legend(series)


def ranges(rows: Sequence[tuple[str, float, float, float]], *, title: str, most: float = 1.0) -> str:
    """One bar per row from its low to its high value, with a mark at the middle one.

    Args:
        rows: Name, low, middle and high value of each row, between 0 and `most`.
        title: Text for readers who do not see the chart.
        most: Value at the right end.
    """
    wide, high, left, top = 260.0, 17.0, 150.0, 4.0
    bottom = top + len(rows) * high
    parts = [f'<path d="M{left + wide * s:.0f} {top}V{bottom}" stroke="var(--line)"/>' for s in (0, 0.25, 0.5, 0.75, 1)]
    for index, (name, *values) in enumerate(rows):
        low, middle, upper = (left + wide * float(np.clip(value / most, 0, 1)) for value in values)
        y = top + index * high
        parts.append(
            f'<text class=ink x="{left - 6:.0f}" y="{y + 12:.0f}" text-anchor="end">{html.escape(name)}</text>'
        )
        parts.append(
            f'<rect x="{low:.1f}" y="{y + 4:.0f}" width="{max(upper - low, 1.5):.1f}" height="9" rx="2" '
            'fill="var(--accent)" fill-opacity=".55"/>'
        )
        parts.append(f'<path d="M{middle:.1f} {y + 2:.0f}v13" stroke="var(--ink)" stroke-width="2"/>')
    parts += [
        f'<text x="{left + wide * share:.0f}" y="{bottom + 14:.0f}" text-anchor="middle">{share * most:g}</text>'
        for share in (0, 0.5, 1)
    ]
    return _svg(left + wide + 16, bottom + 20, title=title, parts=parts)


def bars(rows: Sequence[tuple[str, float, str]], *, title: str) -> str:
    """One bar per row with a text behind it.

    Args:
        rows: Name, value (0 or more) and text of each row.
        title: Text for readers who do not see the chart.
    """
    wide, high, left, top = 220.0, 24.0, 190.0, 4.0
    most = max([value for _, value, _ in rows] + [1e-9])
    parts = []
    for index, (name, value, text) in enumerate(rows):
        y, end = top + index * high, left + wide * value / most
        parts.append(
            f'<text class=ink x="{left - 6:.0f}" y="{y + 15:.0f}" text-anchor="end">{html.escape(name)}</text>'
        )
        parts.append(
            f'<rect x="{left}" y="{y + 3:.0f}" width="{max(end - left, 1.5):.1f}" height="16" rx="2" '
            'fill="var(--accent)" fill-opacity=".55"/>'
        )
        parts.append(f'<text x="{end + 6:.1f}" y="{y + 15:.0f}">{html.escape(text)}</text>')
    return _svg(left + wide + 130, top + len(rows) * high + 4, title=title, parts=parts)


def _svg(width: float, height: float, *, title: str, parts: Iterable[str]) -> str:
    words = html.escape(title, quote=True)
    # A telephone shows these at half or two thirds of their size: the style sheet makes their text larger there.
    kind = ' class="wide"' if width > 600 else ' class="broad"' if width > 500 else ""
    return (
        f'<svg{kind} viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{words}">'
        f"<title>{words}</title>{''.join(parts)}</svg>"
    )


def _centred(text: str, x: float, y: float) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{html.escape(text)}</text>'


def _turned(text: str, x: float, y: float) -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" transform="rotate(-90 {x:.0f} {y:.0f})"'
    return f'<text {place} text-anchor="middle">{html.escape(text)}</text>'


def _legend(series: Sequence[Series]) -> str:
    entries = (f'<span style="color:var(--{line.color})">■</span> {html.escape(line.label)}' for line in series)
    return f"<p class=note>{' &nbsp; '.join(entries)}</p>"


def _ticks(low: float, high: float, *, inside: bool = False) -> list[float]:
    """Four to nine round values from `low` to `high`, or from and to the first ones beyond them unless `inside`."""
    rough = (high - low) / 5
    if rough <= 0:
        return [low, low + 1.0]
    size = 10.0 ** np.floor(np.log10(rough))
    step = float(size * next(factor for factor in (1, 2, 5, 10) if factor * size >= rough))
    first = np.ceil(low / step - 1e-9) if inside else np.floor(low / step + 1e-9)
    last = np.floor(high / step + 1e-9) if inside else np.ceil(high / step - 1e-9)
    return [round(float(index) * step, 10) + 0.0 for index in np.arange(first, last + 1)]


def _thinned(time: np.ndarray, values: np.ndarray, *, smallest: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """At most `FINEST` moments, each with the largest or the smallest value around it."""
    if len(time) <= FINEST:
        return time, values
    extreme = np.min if smallest else np.max
    edges = np.linspace(0, len(time), FINEST + 1).astype(int)
    kept = [
        float(extreme(part[np.isfinite(part)])) if np.isfinite(part).any() else np.nan
        for part in (values[start:stop] for start, stop in pairwise(edges))
    ]
    return time[edges[:-1]], np.array(kept)
