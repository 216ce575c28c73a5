"""The chart: CPU per request, one bar for each line."""

from __future__ import annotations

from html import escape
from typing import Any

_WIDTH, _LABELS, _FIGURES, _ROW, _TOP = 720, 240, 80, 26, 44
_COLOURS = {"echo": "#8c959f", "peer": "#bf8700"}
_OURS = "#0969da"


def draw(results: dict[str, Any]) -> str:
    """Returns an SVG."""
    lines: dict[str, dict[str, Any]] = results["lines"]
    longest = max(line["cpu_us"] for line in lines.values())
    scale = (_WIDTH - _LABELS - _FIGURES) / longest
    height = _TOP + _ROW * len(lines) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#57606a">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        '<text x="8" y="24" font-size="15" fill="#24292f">'
        "CPU of the server per request, µs (less is better)</text>",
    ]
    for number, (key, line) in enumerate(lines.items()):
        y, length = _TOP + _ROW * number, max(1.0, line["cpu_us"] * scale)
        colour = _COLOURS.get(key.partition("_")[0], _OURS)
        parts += [
            f'<text x="{_LABELS - 8}" y="{y + 16}" text-anchor="end">'
            f"{escape(line['label'])}</text>",
            f'<rect x="{_LABELS}" y="{y + 3}" width="{length:.1f}" height="{_ROW - 8}" '
            f'rx="2" fill="{colour}"/>',
            f'<text x="{_LABELS + length + 6:.1f}" y="{y + 16}">{line["cpu_us"]:,.0f}</text>',
        ]
    return "\n".join((*parts, "</svg>", ""))
