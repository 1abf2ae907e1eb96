"""Compiled traffic of the next slot for a whole batch: `twin.traffic_kernels.offer` with instances side by side.

A loop over instances without a call and without a branch is done in vector registers, so logarithm, sine and cosine
are polynomials here. They are as good as those of the mathematics library: within some units in the last place.
"""

from __future__ import annotations

import math

import numpy as np

from twin.batch import Batch
from twin.compiled import exponent, inner, mantissa
from twin.state import FloatArray
from twin.traffic_kernels import DIURNAL, Profiles, mbps_at, mix

_LN2, _SQRT2 = math.log(2.0), math.sqrt(2.0)
_TWO_PI = 2.0 * math.pi


@inner
def offer_all(p: Profiles, batch: Batch) -> None:
    """Traffic of every instance's next slot, at its middle, into `batch.coming_mbps`."""
    rows, coming = batch.instances, batch.coming_mbps
    for c in range(len(coming)):
        out = coming[c]
        if p.kind[c] == DIURNAL:
            _waves(p, c, batch, out)
        else:
            for b in range(len(out)):
                out[b] = mbps_at(p, rows[b].seed, c, rows[b].slot * p.period_s + 0.5 * p.period_s)
        for b in range(len(out)):
            out[b] = (out[b] if out[b] > 0.0 else 0.0) * batch.scale[b, c]


@inner
def _waves(p: Profiles, c: int, batch: Batch, out: FloatArray) -> None:
    value = p.values[c]
    mean, swing, day_s, noise, phase = value[0], value[1], value[2], value[3], value[4]
    rows, chain = batch.instances, np.uint64(c)
    for b in range(len(out)):
        slot = rows[b].slot
        word = mix(mix(mix(np.uint64(rows[b].seed)) ^ chain) ^ np.uint64(slot))
        first, second = _unit(mix(word)), _unit(mix(word ^ np.uint64(1)))
        normal = math.sqrt(-2.0 * _log(first)) * _sine(second + 0.25)
        wave = _sine((slot * p.period_s + 0.5 * p.period_s) / day_s + phase)
        out[b] = mean * (1.0 + swing * wave) * (1.0 + noise * normal)


@inner
def _unit(word: np.uint64) -> float:
    return (float(word >> np.uint64(11)) + 0.5) / 9007199254740992.0


@inner
def _log(value: float) -> float:
    """Natural logarithm of a positive number: 2 artanh of f = (m - 1)/(m + 1), the mantissa m around 1."""
    m, e = mantissa(value), exponent(value)
    high = m > _SQRT2
    m, e = (0.5 * m if high else m), (e + 1.0 if high else e)
    f = (m - 1.0) / (m + 1.0)
    s = f * f
    series = 1.0 / 19.0 + s * (1.0 / 21.0)
    series = 1.0 / 15.0 + s * (1.0 / 17.0 + s * series)
    series = 1.0 / 11.0 + s * (1.0 / 13.0 + s * series)
    series = 1.0 / 7.0 + s * (1.0 / 9.0 + s * series)
    series = 1.0 / 3.0 + s * (1.0 / 5.0 + s * series)
    return float(e * _LN2 + 2.0 * (f + f * s * series))


@inner
def _sine(turns: float) -> float:
    """sin(2π · turns): first to half a turn either way, then to a quarter, then the series to the 21st power."""
    part = turns - np.floor(turns + 0.5)
    if part > 0.25:
        part = 0.5 - part
    if part < -0.25:
        part = -0.5 - part
    x = _TWO_PI * part
    s = x * x
    series = -1.0 / 121645100408832000.0 + s * (1.0 / 51090942171709440000.0)
    series = -1.0 / 1307674368000.0 + s * (1.0 / 355687428096000.0 + s * series)
    series = -1.0 / 39916800.0 + s * (1.0 / 6227020800.0 + s * series)
    series = -1.0 / 5040.0 + s * (1.0 / 362880.0 + s * series)
    series = -1.0 / 6.0 + s * (1.0 / 120.0 + s * series)
    return float(x + x * s * series)
