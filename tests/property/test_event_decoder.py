"""The fast decoder and the schema: one verdict, whatever stands in a record."""

import gc
import json
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from controller.errors import MessageError
from controller.stream.event_decoder import EventDecoder
from schemas import RequestRateEvent

T = 1_700_000_000
BUCKET_S, MAX_BYTES = 10.0, 2000
QUERY_TYPES = ("chat", 'code "é"')
DECODER = EventDecoder(max_bytes=MAX_BYTES, bucket_s=BUCKET_S, query_types=QUERY_TYPES)

GOOD: dict[str, Any] = {
    "schema": "request-rate/1",
    "query_type": "chat",
    "event_time": T + 0.25,
    "window_s": 5.0,
    "count": 3,
    "input_tokens": 700,
    "output_tokens": 90,
    "source": "gateway-1",
    "event_id": "e-1",
}
USUAL = {name: value for name, value in GOOD.items() if name not in ("window_s", "event_id")}
NUMBERS = """
0 -0 -0.0 1 -1 1.0 3.0 1e0 1e3 1E+2 1e-400 1e400 -1e400 01 1. .5 +1 1_0 0x1 NaN Infinity -Infinity nan 10 86400
999999999999999 1000000000000000 1000000000000001 9223372036854775808 100000000000000000000000 10.000000000000002
946684800 946684799.9999999 4102444800 4102444800.0000005 1700000000.123456789012345678901234567890 1700000000000
17e8 1.7e9 86400.00000000001 9.999999999999999999999
"""
LONG_NUMBERS = ("9" * 400, "1" + "0" * 400 + ".0", "1." + "0" * 400)
TEXTS = (
    "",
    "x",
    "x" * 128,
    "x" * 129,
    "é" * 128,
    "chat",
    'code "é"',
    "a:b",
    "a b",
    "\x00",
    "\x1f",
    "\x7f",
    "\x80",
)
MORE_TEXTS = (
    "\u2028",
    "\U0001f600",
    'q"q',
    "back\\slash",
    "request-rate/1",
    "request-rate/2",
    "2023-11-14 22:13:20Z",
)
TIMES = """
2023-11-14T22:13:20Z 2023-11-14T22:13:20.123456789Z 2023-11-14 20231114T221320Z 2023-11-14T22:13:20+01:00
2023-11-14T22:13:20 2023-11-14T22:13:20+00:00 2023-11-14T22:13:20-00:00 9999-12-31T23:59:59Z 2023-W46-2
"""
ODD_TEXTS = r"""
"\ud800" "\ud83d\ude00" "\udc00\ud800" "\x" "\u00" " 'x'
"""
OTHERS = ("true", "false", "null", "[]", "{}", "[[[[1]]]]", '{"a": 1, "a": 2}', "", '"\ud800"', '"a\nb"')
WORDS = [*TEXTS, *MORE_TEXTS, *TIMES.split()]
LITERALS = [*NUMBERS.split(), *LONG_NUMBERS, *ODD_TEXTS.split(), *OTHERS]

texts = st.one_of(st.sampled_from(WORDS), st.text(max_size=8))
literals = st.one_of(
    st.sampled_from(LITERALS),
    texts.map(json.dumps),
    texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.integers().map(str),
    st.floats().map(str),
    st.floats(min_value=T, max_value=T + 100).map(repr),
    st.decimals(min_value=T, max_value=T + 1, places=12).map(str),
)
keys = st.one_of(
    st.sampled_from([*GOOD, "schema_name", "Count", "count ", "", "surprise"]).map(json.dumps),
    st.sampled_from([r'"\u0063ount"', r'"c\u006funt"', r'"source\u0000"', "count"]),
)
blanks = st.sampled_from(["", "", "", " ", "\n\t\r ", "\x0b", "\ufeff", "\x00", "/**/"])
fields = st.one_of(
    st.sampled_from(list(GOOD.items())).map(lambda item: (json.dumps(item[0]), json.dumps(item[1]))),
    st.tuples(keys, literals),
    st.tuples(st.sampled_from(list(GOOD)).map(json.dumps), literals),
)


def twice(first: str, field: str = "count", event: dict[str, Any] = GOOD) -> bytes:
    """An event that has a field twice."""
    return json.dumps(event).replace("{", f'{{"{field}": {first}, ', 1).encode()


@st.composite
def nearly_events(draw: st.DrawFn) -> bytes:
    """An event, with some fields changed, left out, repeated or put in, and rubbish around or in it."""
    base = draw(st.sampled_from([GOOD, USUAL]))
    given_fields = [(json.dumps(key), json.dumps(value)) for key, value in base.items()]
    dropped = draw(st.sets(st.integers(0, len(given_fields) - 1), max_size=draw(st.sampled_from([0, 7]))))
    given_fields = [field for place, field in enumerate(given_fields) if place not in dropped]
    for key, literal in draw(st.lists(fields, max_size=3)):
        places = [place for place, field in enumerate(given_fields) if field[0] == key]
        if places and draw(st.booleans()):
            given_fields[places[0]] = (key, literal)
        else:
            given_fields.insert(draw(st.integers(0, len(given_fields))), (key, literal))
    body = ",".join(f"{key}:{draw(blanks)}{literal}" for key, literal in given_fields)
    text = f"{draw(blanks)}{{{body}}}{draw(blanks)}"
    raw = bytearray(text.encode("utf-8", "surrogatepass"))
    for place in draw(st.lists(st.integers(0, len(raw) - 1), max_size=draw(st.sampled_from([0, 0, 2])))):
        raw[place] = draw(st.integers(0, 255))
    return bytes(raw)


raws = st.one_of(
    nearly_events(),
    st.binary(max_size=40),
    st.integers(1, 3000).map(lambda depth: b"[" * depth + b"]" * depth),
    st.integers(1, 900).map(lambda depth: b'{"count":' * depth + b"1" + b"}" * depth),
    st.integers(1, 300).map(lambda depth: twice("[" * depth + "]" * depth)),
    st.integers(MAX_BYTES - 200, MAX_BYTES + 200).map(lambda length: json.dumps(GOOD).ljust(length).encode()),
)


def verdict_of_the_schema(raw: bytes) -> tuple[Any, ...]:
    """What the schema says, and the rules beyond it, written down once more; repeats are looked for differently."""
    if not raw:
        return ("empty",)
    if len(raw) > MAX_BYTES:
        return ("too_large",)
    try:
        event = RequestRateEvent.model_validate_json(raw)
    except ValidationError:
        return ("invalid",)
    named: list[str] = []
    json.loads(raw.decode(), parse_int=str, object_pairs_hook=lambda pairs: named.extend(k for k, _ in pairs))
    if len(named) != len(event.model_fields_set):
        return ("duplicate_key",)
    if event.window_s > BUCKET_S:
        return ("window_too_long",)
    if event.query_type not in QUERY_TYPES:
        return ("unknown_query_type",)
    tokens = (event.input_tokens, event.output_tokens)
    return ("accepted", event.query_type, event.event_time, event.count, *tokens, event.event_id)


def verdict_of_the_decoder(raw: bytes) -> tuple[Any, ...]:
    found = DECODER.decode([raw])
    (record,) = found.records
    if record is None:
        assert not found.event_ids
        return (found.refused[0].reason,)
    assert not found.refused
    assert [type(value) for value in record] == [str, float, int, int, int]
    return ("accepted", *record, found.event_ids.get(0))


@settings(max_examples=2000, deadline=None)
@given(raws)
def test_the_decoder_accepts_and_refuses_what_the_schema_does_with_the_same_values(raw: bytes) -> None:
    assert verdict_of_the_decoder(raw) == verdict_of_the_schema(raw)


@pytest.mark.parametrize("event", [GOOD, USUAL], ids=["whole", "usual"])
@pytest.mark.parametrize("field", list(GOOD))
def test_no_value_of_any_field_divides_them(field: str, event: dict[str, Any]) -> None:
    marked = json.dumps(event | {field: "MARK"})
    literals = [*LITERALS, *(json.dumps(text, ensure_ascii=False) for text in WORDS)]
    for literal in literals:
        raw = marked.replace('"MARK"', literal).encode("utf-8", "surrogatepass")
        assert verdict_of_the_decoder(raw) == verdict_of_the_schema(raw), raw


@pytest.mark.parametrize(("event", "field"), [(event, field) for event in (GOOD, USUAL) for field in event])
@pytest.mark.parametrize("first", ["1", '"x"', "null", '"\\""', "[]"])
def test_a_key_that_stands_twice_is_refused_whatever_stood_there_first(
    event: dict[str, Any], field: str, first: str
) -> None:
    for name in (field, f"\\u{ord(field[0]):04x}{field[1:]}"):
        assert verdict_of_the_decoder(twice(first, name, event)) == ("duplicate_key",)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        b"",
        b"{",
        json.dumps(GOOD).encode(),
        json.dumps(USUAL | {"count": 0, "input_tokens": 0, "output_tokens": 0}).encode(),
        json.dumps(USUAL | {"query_type": "poetry"}).encode(),
        json.dumps(USUAL | {"source": "\x7f"}).encode(),
        json.dumps(USUAL).ljust(MAX_BYTES + 1).encode(),
        twice("1", event=USUAL),
    ],
)
def test_an_odd_record_among_many_usual_ones_changes_nothing_for_them(odd: bytes | None) -> None:
    values: list[bytes | None] = [
        json.dumps(USUAL | {"event_time": T + number, "input_tokens": number}).encode()
        for number in range(300)
    ]
    values[200] = odd
    found, alone = DECODER.decode(values), DECODER.decode([odd])
    wanted: list[Any] = [("chat", float(T + number), 3, number, 90) for number in range(300)]
    wanted[200] = alone.records[0]
    assert found.records == wanted
    assert [(place, str(error)) for place, error in found.refused.items()] == [
        (200, str(error)) for error in alone.refused.values()
    ]
    assert list(found.event_ids.items()) == [(200, name) for name in alone.event_ids.values()]
    assert found.latest_s == T + 299


@settings(deadline=None)
@given(st.lists(raws, max_size=12))
def test_records_are_judged_each_on_its_own(values: list[bytes]) -> None:
    together = DECODER.decode(values)
    assert len(together.records) == len(values)
    for place, raw in enumerate(values):
        alone = DECODER.decode([raw])
        assert together.records[place] == alone.records[0]
        assert together.event_ids.get(place) == alone.event_ids.get(0)
        assert (place in together.refused) == (0 in alone.refused)
    times = [record[1] for record in together.records if record is not None]
    assert together.latest_s == max(times, default=float("-inf"))


def test_no_window_is_longer_than_the_schema_allows_however_long_buckets_are() -> None:
    decoder = EventDecoder(max_bytes=MAX_BYTES, bucket_s=1e6, query_types=QUERY_TYPES)
    values = [json.dumps(GOOD | {"window_s": window_s}).encode() for window_s in (86_400, 86_401)]
    assert [place for place, record in enumerate(decoder.decode(values).records) if record is None] == [1]


@pytest.mark.parametrize("raw", [b"", b"{", twice("1"), json.dumps(GOOD | {"query_type": "poetry"}).encode()])
def test_what_is_refused_is_gone_as_soon_as_it_is_dropped(raw: bytes) -> None:
    gc.disable()  # what a collection would have to find stays for long, and the whole chunk with it
    try:
        found = DECODER.decode([raw])
        refusal = weakref.ref(found.refused[0])
        del found
        assert refusal() is None
    finally:
        gc.enable()


def test_what_gateways_send_goes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: EventDecoder, raw: bytes) -> Any:
        raise MessageError("went_the_strict_way", "record", repr(raw))

    monkeypatch.setattr(EventDecoder, "_strict", never)
    usual = [
        GOOD,
        GOOD | {"event_time": "2023-11-14T22:13:20.250Z"},
        GOOD | {"source": "urn:gw:1", "event_id": None},
        {"query_type": "chat", "event_time": T},
        GOOD | {"count": 0, "input_tokens": 0, "output_tokens": 0},
    ]
    values = [json.dumps(event).encode() for event in usual]
    assert DECODER.decode([*values, json.dumps(GOOD, indent=2).encode()]).refused == {}
