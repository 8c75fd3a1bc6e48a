"""Contact sheets of a dataset, as PNG or as one HTML file."""

import base64
import html
import io
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from generator.datasets.reading import image_of, rows, samples
from generator.errors import DatasetError

CELL = 128
LINE = 14
COLUMNS = 8


def sheet(folder: Path, out: Path, count: int = 64) -> int:
    """Write evenly chosen pictures with label and prompt to `out` (.png or .html); how many. Raises DatasetError."""
    if out.suffix not in (".png", ".html"):
        raise DatasetError(f"a sheet cannot be written as {out.suffix or out.name}", hint="end it in .png or .html")
    if count < 1:
        raise DatasetError(f"a sheet of {count} pictures shows nothing", hint="ask for at least 1")
    kept = [row for row in rows(folder) if row["kept"]]
    step = max(1, -(-len(kept) // count))
    chosen = {row["key"]: f"{row['label']}: {row['prompt'] or row['parent']}" for row in kept[::step]}
    shown = [(chosen[key], image_of(files)) for key, files in samples(folder) if key in chosen]
    part = out.with_name(f".{out.name}.part")
    if out.suffix == ".html":
        part.write_text(_page(folder.name, shown))
    else:
        drawing([(text, _picture(content)) for text, content in shown]).save(part, "PNG", optimize=True)
    part.replace(out)
    return len(shown)


def _picture(content: bytes) -> PIL.Image.Image:
    with PIL.Image.open(io.BytesIO(content)) as opened:
        return opened.convert("RGB")


def drawing(shown: list[tuple[str, PIL.Image.Image]], columns: int = COLUMNS, cell: int = CELL) -> PIL.Image.Image:
    """Pictures in a grid with a line of text below each."""
    lines = max(1, -(-len(shown) // columns))
    canvas = PIL.Image.new("RGB", (columns * cell, lines * (cell + LINE)), "white")
    pen = PIL.ImageDraw.Draw(canvas)
    for number, (text, picture) in enumerate(shown):
        left, top = number % columns * cell, number // columns * (cell + LINE)
        scale = (cell - 4) / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        canvas.paste(picture.resize(size, PIL.Image.Resampling.LANCZOS), (left + 2, top + 2))
        pen.text((left + 2, top + cell - 1), text.encode("ascii", "replace").decode()[: cell // 6], fill="black")
    return canvas


def _page(title: str, shown: list[tuple[str, bytes]]) -> str:
    figures = []
    for text, content in shown:
        address = base64.b64encode(content).decode()
        alternative = html.escape(text, quote=True)
        figures.append(
            f'<figure><img src="data:image;base64,{address}" alt="{alternative}"><figcaption>{alternative}</figcaption></figure>'
        )
    style = "body{font:12px sans-serif;display:flex;flex-wrap:wrap;gap:8px}figure{margin:0;width:128px}img{width:128px}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style>\n" + "\n".join(figures) + "\n</html>\n"
    )
