"""The figures of the generated day: six query types, four fitted to real traffic, two assumed.

Text types: fitted by :func:`~replay.day_profile.fit_day_profile` to a day drawn from the published parameters of
Alibaba's ServeGen (github.com/alibaba/ServeGen, Apache-2.0: rates and shapes per client in windows of 600 s, token
histograms per 6 h; day 2 of `m-small` and `m-large`, and the day of `deepseek-r1`). Its clients were put under our
query types by the shape of their tokens; the names are ours, not Alibaba's. The figures are hourly requests,
burstiness over 60, 10 and 1 s, and quantiles of input and of output tokens: no row of any trace.

Image and video generation: no trace is public, so these are ASSUMED, each figure below.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from replay.day_profile import HOURS, PROBABILITIES, DayProfile

FITTED = (
    DayProfile(
        "summarization",
        (
            5127,
            4659,
            3442,
            3870,
            3494,
            3878,
            4049,
            4666,
            4068,
            4190,
            5640,
            4235,
            4251,
            4000,
            3715,
            3789,
            3549,
            3486,
            4372,
            3642,
            3672,
            3405,
            3508,
            3845,
        ),
        (0.064, 0.168, 0.652),
        (
            10,
            85,
            514,
            710,
            1003,
            1484,
            1537,
            1722,
            1903,
            2301,
            2430,
            3139,
            3371,
            3796,
            3918,
            4132,
            5720,
            10806,
        ),
        (1, 6, 19, 47, 68, 76, 87, 237, 269, 451, 535, 624, 797, 1125, 1570, 2546, 3169, 3986),
    ),
    DayProfile(
        "code_generation",
        (
            7190,
            3340,
            2016,
            2242,
            1896,
            1817,
            2728,
            2790,
            3416,
            4263,
            3846,
            3281,
            8096,
            9218,
            7116,
            7823,
            6769,
            7025,
            4572,
            5348,
            6894,
            7022,
            6237,
            5324,
        ),
        (0.174, 0.481, 1.989),
        (210, 212, 214, 215, 223, 594, 622, 646, 763, 766, 795, 1585, 1805, 2092, 2342, 2617, 3659, 9853),
        (1, 3, 9, 11, 13, 18, 18, 18, 35, 40, 45, 47, 47, 57, 68, 82, 117, 187),
    ),
    DayProfile(
        "translation",
        (
            4841,
            5251,
            5494,
            5248,
            6034,
            5295,
            4916,
            4684,
            4027,
            4416,
            7044,
            8072,
            8159,
            8295,
            9240,
            8383,
            7312,
            6918,
            8136,
            8451,
            3809,
            3262,
            3380,
            3163,
        ),
        (0.017, 0.039, 0.179),
        (15, 46, 46, 46, 46, 46, 46, 46, 46, 63, 64, 65, 65, 67, 233, 286, 667, 673),
        (1, 8, 11, 13, 28, 31, 37, 43, 49, 53, 60, 74, 117, 133, 227, 417, 559, 754),
    ),
    DayProfile(
        "math_solving",
        (
            1994,
            2516,
            1991,
            863,
            454,
            528,
            352,
            208,
            281,
            1323,
            1168,
            1114,
            694,
            2134,
            2629,
            2119,
            1880,
            639,
            1323,
            866,
            2781,
            3385,
            3639,
            1033,
        ),
        (0.174, 0.379, 1.812),
        (4, 6, 12, 31, 76, 206, 264, 276, 379, 412, 452, 603, 825, 1396, 2488, 4714, 8272, 16615),
        (
            49,
            139,
            225,
            272,
            344,
            405,
            465,
            531,
            631,
            854,
            1319,
            4721,
            9523,
            14883,
            18023,
            19900,
            24115,
            29742,
        ),
    ),
)


def _evening_hours(mean_per_h: float) -> tuple[float, ...]:
    """Assumed shape of consumer traffic: half as much again at 20:00 UTC, half at 8:00."""
    return tuple(
        round(mean_per_h * (1 + 0.5 * math.cos(2 * math.pi * (hour - 20) / HOURS)), 1)
        for hour in range(HOURS)
    )


def _lognormal_quantiles(mean: float, sigma: float) -> tuple[float, ...]:
    """Quantiles of a lognormal with this mean; the least is that of one in ten thousand."""
    mu = math.log(mean) - sigma**2 / 2
    return tuple(
        max(1.0, round(math.exp(mu + sigma * NormalDist().inv_cdf(max(probability, 1e-4)))))
        for probability in PROBABILITIES
    )


_ASSUMED_BURSTINESS = (0.02, 0.04, 0.2)
"""As calm as translation, the calmest of the fitted: many independent people."""

ASSUMED = (
    DayProfile(
        "image_generation",
        _evening_hours(620.0),  # to summarization as in the paper's instance: 0.51 to 3.35 per second
        _ASSUMED_BURSTINESS,
        _lognormal_quantiles(32.0, 0.6),  # a prompt of a line or two; mean of the paper's instance
        _lognormal_quantiles(
            1024.0, 0.3
        ),  # the paper's instance counts an image as 1024 tokens, more or less
    ),
    DayProfile(
        "video_generation",
        _evening_hours(320.0),  # 0.27 to 3.35 per second
        _ASSUMED_BURSTINESS,
        _lognormal_quantiles(48.0, 0.6),
        _lognormal_quantiles(2048.0, 0.5),  # lengths of clips differ more than sizes of images
    ),
)

PROFILES = FITTED + ASSUMED
"""All six, in the order of the catalog: some 420,000 requests a day."""
