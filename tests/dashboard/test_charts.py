"""Charts and tables: none, one and many values; words for those who see no picture; nothing that is executed."""

import re
import xml.etree.ElementTree as ET

import pytest

from dashboard.charts import LETTER, WIDTH, Bar, Point, columns, line, rows
from dashboard.tables import Table, as_csv, safe

SVG = "{http://www.w3.org/2000/svg}"


def parsed(chart: str) -> ET.Element:
    """The chart as a document of its own."""
    return ET.fromstring(str(chart).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))  # noqa: S314 - our own


@pytest.mark.parametrize("draw", [columns, rows])
@pytest.mark.parametrize("bars", [[], [Bar("a", 0)], [Bar("a", 0), Bar("b", 0)]])
def test_nothing_is_said_in_words(draw, bars) -> None:  # type: ignore[no-untyped-def]
    drawn = draw("Decisions", bars)

    assert "<svg" not in drawn
    assert "Decisions" in drawn


def test_a_line_of_nothing_and_of_one_point() -> None:
    assert "<svg" not in line("Late", [])
    assert "<svg" not in line("Late", [Point("now", 0, 0)])
    assert len(parsed(line("Late", [Point("now", 0, 3)])).findall(f"{SVG}circle")) == 1


@pytest.mark.parametrize("draw", [columns, rows])
def test_every_bar_is_drawn_in_proportion_inside_the_picture(draw) -> None:  # type: ignore[no-untyped-def]
    svg = parsed(draw("Waiting", [Bar("a", 5), Bar("b", 10, part=4), Bar("c", 0)]))

    size = "height" if draw is columns else "width"
    bars = [rect for rect in svg.findall(f"{SVG}rect") if rect.get("class") == "bar"]
    part = next(rect for rect in svg.findall(f"{SVG}rect") if rect.get("class") == "part")
    heights = [float(bar.get(size, "")) for bar in bars]
    assert heights[0] == pytest.approx(heights[1] / 2, abs=0.1)
    assert heights[2] == 0
    assert float(part.get(size, "")) == pytest.approx(heights[1] * 0.4, abs=0.1)
    inside(svg)


def test_a_year_of_days_fits_and_only_some_are_named() -> None:
    svg = parsed(columns("By day", [Bar(f"day {n}", n % 7) for n in range(365)]))

    assert len([rect for rect in svg.findall(f"{SVG}rect") if rect.get("class") == "bar"]) == 365
    assert 4 <= len(svg.findall(f"{SVG}text")) <= 8
    assert "325 more" in (svg.findtext(f"{SVG}desc") or "")
    inside(svg)


def test_a_chart_says_its_values_and_has_a_name() -> None:
    svg = parsed(rows("Waiting", [Bar("child & co", 5), Bar("b", 2, words="2, 1 late")]))

    assert svg.get("role") == "img"
    assert svg.findtext(f"{SVG}title") == "Waiting"
    assert svg.findtext(f"{SVG}desc") == "child & co: 5; b: 2, 1 late"
    assert svg.get("aria-labelledby") == next(child.get("id") for child in svg.iter(f"{SVG}title"))


def test_hostile_labels_stay_words() -> None:
    drawn = columns("<script>alert(1)</script>", [Bar('"><img src=x onerror=alert(1)>', 1)])

    assert "<script" not in drawn
    assert "<img" not in drawn
    assert "style=" not in drawn
    parsed(drawn)


def inside(svg: ET.Element) -> None:
    """Every rectangle lies in the picture."""
    _, _, wide, high = (float(number) for number in (svg.get("viewBox") or "").split())
    for rect in svg.findall(f"{SVG}rect"):
        x, y, width, height = (float(rect.get(name, "")) for name in ("x", "y", "width", "height"))
        assert min(x, y, width, height) >= 0
        assert x + width <= wide + 0.1
        assert y + height <= high + 0.1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", '=HYPERLINK("x")'])
def test_no_text_becomes_a_formula(text: str) -> None:
    assert str(safe(text)).startswith("'")


def test_numbers_and_plain_text_stay_as_they_are() -> None:
    assert [safe(cell) for cell in (-0.25, 3, None, "a-b", "ada@example.org", "")] == [
        -0.25,
        3,
        None,
        "a-b",
        "ada@example.org",
        "",
    ]


def test_a_table_is_a_download() -> None:
    answer = as_csv(Table("queues", "Queues", ("Queue", "Kappa"), [("a, b", -0.5), ('=cmd|"x"', None)]))

    assert bytes(answer.body).decode() == 'Queue,Kappa\r\n"a, b",-0.5\r\n"\'=cmd|""x""",\r\n'
    assert re.search("attachment; .*palisade-queues.csv", answer.headers["content-disposition"])


def test_long_values_have_room_beside_their_bars() -> None:
    drawn = rows("Waiting", [Bar("explicit", 12_345, 999, "12345, 999 late"), Bar("general", 3)])

    (x,) = {float(found) for found in re.findall(r'<text class="value" x="([\d.]+)"', drawn)}
    assert x + len("12345, 999 late") * LETTER <= WIDTH
