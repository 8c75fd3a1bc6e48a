"""Draws loss curves as SVG, with a logarithmic axis; nothing but the standard library."""

import csv
import html
import math
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 240, 44


def read(path: Path) -> list[tuple[int, float]]:
    """Steps and losses of a curve that `loop.write_curve` wrote."""
    with path.open(newline="") as lines:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(lines)]


def svg(title: str, points: list[tuple[int, float]]) -> str:
    """The curve as one SVG document. `points`: at least two, losses above 0."""
    steps, losses = [step for step, _ in points], [math.log10(loss) for _, loss in points]
    low, high = min(losses), max(losses)
    across = (WIDTH - 2 * MARGIN) / max(steps[-1] - steps[0], 1)
    down = (HEIGHT - 2 * MARGIN) / max(high - low, 1e-9)
    line = " ".join(
        f"{MARGIN + (step - steps[0]) * across:.1f},{MARGIN + (high - loss) * down:.1f}"
        for step, loss in zip(steps, losses, strict=True)
    )
    bottom = HEIGHT - MARGIN
    texts = [
        (MARGIN, MARGIN - 16, title),
        (2, MARGIN + 4, f"{10**high:.3g}"),
        (2, bottom + 4, f"{10**low:.3g}"),
        (MARGIN, bottom + 18, f"step {steps[0]}"),
        (WIDTH - MARGIN - 50, bottom + 18, f"step {steps[-1]}"),
    ]
    labels = "".join(f'<text x="{x}" y="{y}">{html.escape(text)}</text>' for x, y, text in texts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<path d="M{MARGIN},{MARGIN}V{bottom}H{WIDTH - MARGIN}" fill="none" stroke="#888"/>'
        f'<polyline points="{line}" fill="none" stroke="#2457a8" stroke-width="1.5"/>{labels}</svg>\n'
    )
