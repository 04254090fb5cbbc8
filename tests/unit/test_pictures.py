"""The pictures in the documentation show the tables that the worker runs by."""

from __future__ import annotations

import pytest

from tests.support.pictures import PAGE, PICTURE, TABLES, drawn, mermaid


def test_the_pictures_are_those_of_the_tables() -> None:
    page = PAGE.read_text("utf-8")
    assert drawn(page) == page, "make pictures draws them anew"
    assert {found[1] for found in PICTURE.findall(page)} == TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_a_picture_has_an_arrow_for_each_entry_of_its_table(name: str) -> None:
    ends = sum(not turns for turns in TABLES[name].values())
    assert mermaid(TABLES[name]).count("-->") == 1 + ends + sum(map(len, TABLES[name].values()))


def test_a_page_that_lags_behind_its_table_is_seen() -> None:
    page = PAGE.read_text("utf-8")
    behind = page.replace(": no answer", ": silence")
    assert behind != page
    assert drawn(behind) == page
