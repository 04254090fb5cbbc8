"""Logs: one line per record, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from worker import log

PASSWORD = "pä55/w%rd\n"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the lines go; logging is as it was afterwards."""
    levels = {name: logging.getLogger(name).level for name in ("", "worker", *log.QUIETED)}
    yield io.StringIO()
    log.remove()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """The JSON lines that were written."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_settled_event_is_one_json_line_with_its_fields(stream: io.StringIO) -> None:
    # Given
    log.configure("json", "info", stream)
    fields = {
        "event_id": "7d0c",
        "external_id": "WO-100 æøå",
        "outcome": "applied",
        "reason": None,
        "duration_ms": 12.5,
    }

    # When
    logging.getLogger("worker.service").info("settled", extra={**fields, "calls": ("task_create",)})

    # Then
    (line,) = lines(stream)
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "info",
        "logger": "worker.service",
        "message": "settled",
        "event_id": "7d0c",
        "external_id": "WO-100 æøå",
        "outcome": "applied",
        "duration_ms": 12.5,
        "calls": ["task_create"],
    }


def test_an_extra_field_cannot_take_the_place_of_a_fixed_one(stream: io.StringIO) -> None:
    log.configure("json", "info", stream)

    logging.getLogger("worker").info("x", extra={"time": "2026", "level": "9"})

    (line,) = lines(stream)
    assert (line["level"], line["level_"], line["time_"]) == ("info", "9", "2026")


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_record_with_line_breaks_and_terminal_codes_stays_one_line(format: log.Format, stream: io.StringIO) -> None:
    log.configure(format, "info", stream)

    logging.getLogger("worker").info("a\nb\x1b[31m", extra={"event_id": "1\n2 INFO forged\x1b[0m"})

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_registered_secret_never_appears_wherever_it_came_from(format: log.Format, stream: io.StringIO) -> None:
    # Given
    mask = log.configure(format, "debug", stream, secrets=[PASSWORD])
    mask.hide("later-token")
    logger = logging.getLogger("worker")

    # When: as argument, percent-encoded, in a literal, nested in fields, in an exception and its cause, from libraries
    logger.info("token %s in %r", "later-token", {"password": PASSWORD})
    logger.info("to amqp://user:p%C3%A455%2Fw%25rd%0A@host/ and p%C3%A455/w%25rd%0A")
    logger.info("fields", extra={"calls": [{"secret": PASSWORD}], "error": ValueError(PASSWORD)})
    for library in ("pika.connection", "httpx", "httpcore"):
        logging.getLogger(library).critical("sent %s", PASSWORD)
    try:
        try:
            raise KeyError(PASSWORD)
        except KeyError as error:
            raise ValueError("later-token") from error
    except ValueError:
        logger.exception("failed")

    # Then
    text = stream.getvalue()
    assert text.count("***") >= 9
    assert "55/w" not in text
    assert "55%2F" not in text
    assert "later-token" not in text


def test_a_password_in_an_address_is_hidden_though_nobody_registered_it(stream: io.StringIO) -> None:
    log.configure("json", "info", stream)

    logging.getLogger("pika").critical("cannot reach amqp://guest:hunter2@127.0.0.1:5672/")

    assert lines(stream)[0]["message"] == "cannot reach amqp://guest:***@127.0.0.1:5672/"


def test_libraries_are_quiet_even_at_debug(stream: io.StringIO) -> None:
    # Given
    log.configure("json", "debug", stream)

    # When
    for name in log.QUIETED:
        logging.getLogger(name).info("GET https://api/projects/P-1")
    logging.getLogger("pika.adapters.utils").debug("body")
    logging.getLogger("worker").debug("own")

    # Then
    assert [line["message"] for line in lines(stream)] == ["own"]


def test_errors_of_pika_are_left_to_the_worker_unless_debugging(stream: io.StringIO) -> None:
    log.configure("json", "info", stream)
    logging.getLogger("pika.adapters").error("Socket failed to connect")
    assert stream.getvalue() == ""

    log.configure("json", "debug", stream)
    logging.getLogger("pika.adapters").error("Socket failed to connect")
    assert len(lines(stream)) == 1


def test_configuring_again_replaces_and_leaves_handlers_of_others(stream: io.StringIO) -> None:
    before = list(logging.getLogger().handlers)

    log.configure("json", "info", stream)
    log.configure("json", "warning", stream)
    logging.getLogger("worker").info("too small")
    logging.getLogger("worker").warning("once")

    assert [line["message"] for line in lines(stream)] == ["once"]
    log.remove()
    assert logging.getLogger().handlers == before


def test_arguments_that_do_not_fit_cost_no_line() -> None:
    record = logging.LogRecord("worker", logging.INFO, "here.py", 1, "%d events", ("hidden",), None)

    line = log.JsonFormatter(log.Mask(["hidden"])).format(record)

    assert json.loads(line)["message"] == "%d events ('***',)"


def test_huge_texts_are_cut(stream: io.StringIO) -> None:
    log.configure("json", "info", stream)

    logging.getLogger("worker").info("x" * 1_000_000, extra={"event_id": "y" * 1_000_000})

    assert len(stream.getvalue()) < 10_000


def test_text_that_is_no_unicode_does_not_break_the_line(stream: io.StringIO) -> None:
    log.configure("json", "info", stream)

    logging.getLogger("worker").info("odd \udc80")

    stream.getvalue().encode()
    assert lines(stream)[0]["message"] == "odd \udc80"


def test_the_console_shows_fields_as_names_and_values(stream: io.StringIO) -> None:
    log.configure("console", "info", stream)

    logging.getLogger("worker.service").info("settled", extra={"external_id": "WO 1", "outcome": "applied", "calls": ["a", "b"]})

    assert stream.getvalue().endswith('INFO    worker.service: settled  external_id="WO 1" outcome=applied calls=a,b\n')
