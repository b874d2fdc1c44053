"""The blocks and charts of report pages."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from avatar.reporting import (
    Series,
    bars,
    commands,
    details,
    figure,
    finding,
    histogram2d,
    page,
    paragraph,
    ranges,
    section,
    table,
    tiles,
    timeline,
    verdict,
    video,
)


def drawn(chart: str) -> ElementTree.Element:
    """A chart, parsed: attributes without quotes are HTML's, not XML's."""
    return ElementTree.fromstring(chart.replace("class=ink", 'class="ink"'))


def texts(chart: str) -> list[str]:
    return [node.text or "" for node in drawn(chart).iter("text")]


def test_a_histogram_shows_every_count_once_and_the_lowest_row_at_the_bottom() -> None:
    counts = np.array([[0, 12.0, 0.5], [0, 0, 3.0]])
    chart = histogram2d(
        counts, x_edges=[-15, -5, 5, 15], y_edges=[0, 10, 20], x_label="yaw", y_label="pitch", title="views", unit="s"
    )
    assert texts(chart)[:3] == ["12", "0.5", "3.0"]
    assert {"-15", "15", "0", "20", "yaw", "pitch"} <= set(texts(chart))
    cells = list(drawn(chart).iter("rect"))
    assert len(cells) == 6
    filled = {float(c.attrib["y"]) for c in cells if c.attrib["fill"] == "var(--accent)" and float(c.attrib["x"]) < 120}
    assert filled == {max(float(cell.attrib["y"]) for cell in cells)}


def test_a_timeline_breaks_at_missing_values_and_keeps_peaks_of_long_clips() -> None:
    time = np.arange(5000) / 25
    values = np.ones(5000)
    values[2000:2100] = np.nan
    values[3333] = 9.0
    chart = timeline(time, [Series("error", values)], label="%", title="errors", limit=2.0, gaps=[(80.0, 84.0)])
    line = next(node for node in drawn(chart).iter("path") if node.attrib.get("fill") == "none")
    assert line.attrib["d"].count("M") == 2
    heights = [float(point.split(" ")[1]) for point in line.attrib["d"].replace("M", "L").split("L")[1:]]
    assert len(heights) < 1000 and heights.count(min(heights)) == 1
    assert "0" in texts(chart) and "-0" not in texts(chart)
    assert sum(node.attrib.get("fill") == "var(--bad)" for node in drawn(chart).iter("rect")) == 1


def test_a_timeline_off_zero_keeps_its_lowest_points_and_names_moments() -> None:
    values = np.full(5000, 33.0)
    values[1234] = 21.5
    chart = timeline(
        np.arange(5000) / 25, [Series("a", values)], label="dB", title="t", floor=21.0, marks=[(0.0, "first"), (9, "b")]
    )
    line = next(node for node in drawn(chart).iter("path") if node.attrib.get("fill") == "none")
    heights = [float(point.split(" ")[1]) for point in line.attrib["d"].replace("M", "L").split("L")[1:]]
    assert heights.count(max(heights)) == 1 and max(heights) - min(heights) > 100
    ticks = [float(text) for text in texts(chart) if text.replace(".", "").isdigit()]
    assert min(ticks[:9]) <= 21 and {"first", "b"} <= set(texts(chart))
    anchors = {node.text: node.attrib["text-anchor"] for node in drawn(chart).iter("text")}
    assert anchors["first"] == "start" and anchors["b"] == "start"


def test_blocks_of_results_are_escaped() -> None:
    shown = verdict("good", "<b>", "a & b") + finding("bad", "<i>", "<u>") + tiles([("warn", "<1", "x>y")])
    shown += commands([("why <", "run 'a<b'")]) + details("<d>", paragraph("inside"))
    assert not any(tag in shown for tag in ("<b><", "<i>", "<u>", "<d>", "a<b"))
    assert "Weak:" in shown and "&lt;1" in shown and "a &amp; b" in shown and "<p>inside</p>" in shown


@pytest.mark.parametrize("values", [np.zeros(1), np.full(3, np.nan), np.zeros(3)])
def test_a_timeline_of_next_to_nothing_is_still_one(values: np.ndarray) -> None:
    chart = timeline(np.arange(len(values)) / 25, [Series("a", values)], label="x", title="y")
    assert "nan" not in chart and drawn(chart).tag == "svg"


def test_bars_and_ranges_name_their_rows() -> None:
    assert {"<b>", "3 times"} <= set(texts(bars([("<b>", 2.0, "3 times")], title="t")))
    chart = ranges([("jawOpen", 0.0, 0.25, 2.0)], title="t")
    assert "jawOpen" in texts(chart)
    bar = next(node for node in drawn(chart).iter("rect"))
    assert float(bar.attrib["width"]) == pytest.approx(260)


def test_a_page_is_closed_escaped_and_asks_for_nothing() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    text = page(
        "<i>",
        [section("A & B", paragraph("<script>"), table(("a", "b"), [("<td>", "1")]), figure(picture, '"quoted"'))],
    )
    parser = _Tags()
    parser.feed(text)
    assert parser.open == [] and "script" not in parser.seen and "i" not in parser.seen
    assert "://" not in text and "default-src 'none'" in text
    assert all(source.startswith("data:") for source in parser.sources) and len(parser.sources) == 1
    assert parser.descriptions == ['"quoted"']


def test_pictures_come_back_from_the_page() -> None:
    import base64

    picture = np.full((40, 2400, 3), (200, 30, 60), np.uint8)
    block = figure(picture, "red")
    data = base64.b64decode(block.split("base64,")[1].split('"')[0])
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert stored is not None and stored.shape[1] == 1800
    assert np.abs(stored[..., ::-1].astype(int) - (200, 30, 60)).max() < 12
    assert "data:video/mp4;base64,AAEC" in video(bytes([0, 1, 2]), "clip")


class _Tags(HTMLParser):
    """Which elements a page has, and which are still open at its end."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.sources: list[str | None] = []
        self.descriptions: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        values = dict(attrs)
        if "src" in values:
            self.sources.append(values["src"] or "")
            self.descriptions.append(values.get("alt"))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
