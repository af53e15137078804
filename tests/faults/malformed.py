"""Input that is malformed by how it is made, each kind with the reasons that it may be refused for.

Nothing here asks the product, or a parser, whether it is malformed: a strict prefix of a JSON object is none, a text
where a number must be is wrong, whatever anybody says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.worker_harness import BUCKET_S, T0, TYPES

MAX_BYTES = 16_384
_LONGEST_BYTES = 900_000
_DAY_S = 86_400.0

INVALID = frozenset({"invalid"})

_WRONG: dict[str, tuple[Any, ...]] = {
    "schema": ("request-rate/2", "plan/1", None, 1),
    "query_type": (5, None, [], {}, True, "", "x\u0000y", "q" * 129),
    "event_time": (
        None,
        True,
        [],
        "soon",
        "2026-03-04",
        "2026-03-04T12:00:00+02:00",
        -1.0,
        T0 * 1e3,
        T0 * 1e9,
        0,
    ),
    "count": (-1, 1.5, True, "3", None, [], 10**15 + 1, 10**400, 1e308),
    "input_tokens": (-1, 0.5, False, "3", {}, 10**16),
    "output_tokens": (-1, 0.5, False, "3", {}, 10**16),
    "window_s": (-1.0, "1", None, [], True, 1e9),
    "source": ("", 5, None, "s" * 129, "a\u0007b"),
    "event_id": ("", 5, [], "e" * 129, "a\u0000b"),
}
_NUMBERS = ("event_time", "count", "input_tokens", "output_tokens", "window_s")


def good(dice: Random, at_s: float) -> dict[str, Any]:
    """Return an event that nothing is wrong with, at a moment since T0."""
    return {
        "schema": "request-rate/1",
        "query_type": dice.choice(TYPES),
        "event_time": T0 + at_s,
        "window_s": dice.choice((0.0, 1.0)),
        "count": dice.randint(1, 9),
        "input_tokens": dice.randint(0, 999),
        "output_tokens": dice.randint(0, 999),
        "source": f"gateway-{dice.randrange(9)}",
    }


def _text(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def _cut_off(dice: Random, event: dict[str, Any]) -> bytes:
    raw = _text(event)
    return raw[: dice.randint(1, len(raw) - 1)]


def _noise(dice: Random, event: dict[str, Any]) -> bytes:
    return b"\xff" + dice.randbytes(dice.randint(0, 300))


def _wrong_value(dice: Random, event: dict[str, Any]) -> bytes:
    name = dice.choice(list(_WRONG))
    return _text(event | {name: dice.choice(_WRONG[name])})


def _missing_field(dice: Random, event: dict[str, Any]) -> bytes:
    del event[dice.choice(("query_type", "event_time"))]
    return _text(event)


def _unknown_field(dice: Random, event: dict[str, Any]) -> bytes:
    return _text(event | {f"field_{dice.randrange(10**6)}": dice.random()})


def _not_finite(dice: Random, event: dict[str, Any]) -> bytes:
    name = dice.choice(_NUMBERS)
    return _text(event | {name: float(dice.choice(("nan", "inf", "-inf")))})


def _not_an_object(dice: Random, event: dict[str, Any]) -> bytes:
    return dice.choice((b"null", b"true", b"7", b'"chat"', b"[]", b"[" + _text(event) + b"]"))


def _trailing(dice: Random, event: dict[str, Any]) -> bytes:
    return _text(event) + dice.choice((b"x", b"}", _text(event), b"\x00"))


def _nested(dice: Random, event: dict[str, Any]) -> bytes:
    depth = dice.randint(50, 2000)
    value = dice.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth))
    return _text(event)[:-1] + b', "source": ' + value + b"}"


def _bad_text(dice: Random, event: dict[str, Any]) -> bytes:
    return _text(event).replace(b"gateway", dice.choice((b"\xc3\x28", b"\\ud800", b"\\x41", b"\n", b"\x00")))


def _heartbeat_with_tokens(dice: Random, event: dict[str, Any]) -> bytes:
    return _text(event | {"count": 0, "input_tokens": dice.randint(1, 9)})


def _twice(dice: Random, event: dict[str, Any]) -> bytes:
    name = dice.choice(list(event))
    return _text(event)[:-1] + b", " + _text({name: event[name]})[1:]


def _unknown_type(dice: Random, event: dict[str, Any]) -> bytes:
    return _text(event | {"query_type": f"type-{dice.randrange(10**9)}"})


def _long_window(dice: Random, event: dict[str, Any]) -> bytes:
    return _text(event | {"window_s": BUCKET_S + dice.uniform(0.1, 1000.0)})


def _far_ahead(dice: Random, event: dict[str, Any]) -> bytes:
    return _text(event | {"event_time": T0 + dice.uniform(20, 20_000) * _DAY_S})


def _empty(dice: Random, event: dict[str, Any]) -> bytes:
    return b""


def _too_large(dice: Random, event: dict[str, Any]) -> bytes:
    size = MAX_BYTES + 1 if dice.random() < 0.98 else dice.randint(MAX_BYTES, _LONGEST_BYTES)
    return _text(event) + b" " * size


KINDS: dict[str, tuple[Callable[[Random, dict[str, Any]], bytes], frozenset[str], float]] = {
    "cut off": (_cut_off, INVALID, 1.0),
    "noise": (_noise, INVALID, 1.0),
    "wrong value": (_wrong_value, INVALID, 4.0),
    "missing field": (_missing_field, INVALID, 0.5),
    "unknown field": (_unknown_field, INVALID, 1.0),
    "not finite": (_not_finite, INVALID, 1.0),
    "not an object": (_not_an_object, INVALID, 0.5),
    "trailing": (_trailing, INVALID, 0.5),
    "nested": (_nested, INVALID | {"duplicate_key"}, 0.2),
    "bad text": (_bad_text, INVALID, 1.0),
    "heartbeat with tokens": (_heartbeat_with_tokens, INVALID, 0.5),
    "key twice": (_twice, frozenset({"duplicate_key"}), 0.5),
    "unknown type": (_unknown_type, frozenset({"unknown_query_type"}), 3.0),
    "long window": (_long_window, frozenset({"window_too_long"}), 0.5),
    "far ahead": (_far_ahead, frozenset({"too_far_ahead"}), 0.5),
    "empty": (_empty, frozenset({"empty"}), 0.1),
    "too large": (_too_large, frozenset({"too_large"}), 0.02),
}
_WEIGHTS = [weight for _, _, weight in KINDS.values()]


def malformed(dice: Random, at_s: float) -> tuple[str, bytes]:
    """Return what is wrong, and the bytes."""
    (name,) = dice.choices(list(KINDS), _WEIGHTS)
    return name, KINDS[name][0](dice, good(dice, at_s))
