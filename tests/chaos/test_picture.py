"""Pictures are XML, and have what they are to show."""

from __future__ import annotations

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.picture import Panel, Span, draw

_SVG = "{http://www.w3.org/2000/svg}"


class PictureTests(SynchronousTestCase):
    def test_two_panels(self) -> None:
        curve = [(0.0, 1.0), (60.0, 100.0), (120.0, 0.0)]
        panels = [
            Panel("one & only", [("<a>", curve), ("b", curve[:1])]),
            Panel("seconds", [("", curve)], is_logarithmic=True),
        ]
        picture = ElementTree.fromstring(draw("A <title>", panels, [Span(30, 500, "late")]))
        curves = [curve.get("points", "") for curve in picture.iter(f"{_SVG}polyline")]
        self.assertEqual([len(points.split()) for points in curves], [3, 1, 3])
        texts = {text.text for text in picture.iter(f"{_SVG}text")}
        self.assertLessEqual({"one & only", "<a>", "b", "seconds", "0 min", "2 min"}, texts)

    def test_nothing_at_all(self) -> None:
        ElementTree.fromstring(draw("empty", [Panel("nothing", [("", [])])]))
