import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from controller import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_what_is_no_terminal_gets_one_json_object_a_line() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.get_logger("here").info("tick", cost_usd=1.5)
    said = json.loads(stream.getvalue())
    assert (said["event"], said["cost_usd"], said["level"], said["logger"]) == ("tick", 1.5, "info", "here")


def test_records_of_other_libraries_take_the_same_way_out() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("some.library").warning("careful with %s", "that")
    assert json.loads(stream.getvalue())["event"] == "careful with that"


def test_no_secret_gets_out() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.get_logger("here").info("connect", sasl_plain_password="canary-7", user="u")  # noqa: S106
    assert "canary-7" not in stream.getvalue()
    assert json.loads(stream.getvalue())["user"] == "u"
