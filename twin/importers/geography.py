"""Propagation delay from where the ends of a link are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG
SPEED_KM_PER_MS = 200.0  # light in fibre: 2·10^8 m/s


@dataclass(frozen=True, slots=True)
class Position:
    """A place on Earth in degrees, north and east positive."""

    latitude: float
    longitude: float


def distance_km(a: Position, b: Position) -> float:
    """Great-circle distance by the haversine formula."""
    lat_a, lat_b = math.radians(a.latitude), math.radians(b.latitude)
    half_lat = (lat_b - lat_a) / 2
    half_lon = math.radians(b.longitude - a.longitude) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(chord)))


def delay_ms(a: Position, b: Position) -> float:
    """One-way propagation delay along the great circle, rounded to a microsecond."""
    return round(distance_km(a, b) / SPEED_KM_PER_MS, 3)


def middle(places: Sequence[Position]) -> Position:
    """The middle of some places, by the mean of their directions from the centre of the Earth."""
    x = sum(math.cos(math.radians(p.latitude)) * math.cos(math.radians(p.longitude)) for p in places)
    y = sum(math.cos(math.radians(p.latitude)) * math.sin(math.radians(p.longitude)) for p in places)
    z = sum(math.sin(math.radians(p.latitude)) for p in places)
    return Position(math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x)))
