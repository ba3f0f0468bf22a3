"""An error's text ends up in links, pauses and logs: what a vendor puts into it must not fill them."""

from __future__ import annotations

from sync_worker.errors import LONGEST_TEXT, SystemUnavailable


def test_the_text_of_an_error_is_cut_where_no_line_needs_more() -> None:
    assert str(SystemUnavailable("HTTP 503")) == "HTTP 503"
    assert str(SystemUnavailable("x" * LONGEST_TEXT)) == "x" * LONGEST_TEXT
    long = str(SystemUnavailable("x" * 3_000_000))
    assert (len(long), long[-2:]) == (LONGEST_TEXT, "x…")
