"""The axis of an acquisition group from refined series."""

from __future__ import annotations

import pytest

from core.quality.axis import decide_axis, departure_deg, mean_axis_deg, median_axis_deg, spread_deg


def test_angles_around_180() -> None:
    assert mean_axis_deg([179, -179]) == pytest.approx(180)
    assert abs(median_axis_deg([178, 179, -179])) == pytest.approx(179)
    assert departure_deg(-179, 179) == pytest.approx(2)
    assert spread_deg([179, -179]) == pytest.approx(1.4826)


def test_one_failed_series_does_not_decide() -> None:
    found = decide_axis("batch1", {"a": -85.5, "b": -85.7, "c": -85.6, "d": -85.4, "e": -71.0}, -93.5)
    assert found.key == "tilt_axis:batch1"
    assert found.state == "decided"
    assert found.value == pytest.approx(-85.5)
    assert found.spread is not None
    assert found.spread < 0.5
    assert "nominal -93.5°" in found.evidence
    assert "e -71.0" in found.evidence


def test_disagreement_asks() -> None:
    found = decide_axis("batch1", {"a": 80, "b": 90, "c": 85, "d": 76, "e": 95}, 85)
    assert found.state == "ask"
    assert found.spread is not None
    assert found.spread > 3


def test_few_series_say_so() -> None:
    one = decide_axis("batch1", {"a": 85.2}, None)
    assert (one.state, one.value, one.spread) == ("decided", 85.2, None)
    assert "without a spread" in one.evidence
    assert "5 series would be better" in one.evidence
