"""The query service's words for dates, as ranges of days. Weeks start on Sunday (our assumption)."""

from __future__ import annotations

from datetime import date, timedelta

RELATIVE = frozenset(
    {
        "today",
        "yesterday",
        "currentWeek",
        "lastWeek",
        "currentMonth",
        "priorMonth",
        "currentQuarter",
        "priorQuarter",
        "currentYear",
        "priorYear",
    }
)


def date_range(word: str, today: date) -> tuple[date, date]:
    """First and last day, both included."""
    match word:
        case "today":
            return today, today
        case "yesterday":
            return today - timedelta(days=1), today - timedelta(days=1)
        case "currentWeek" | "lastWeek":
            first = today - timedelta(days=(today.weekday() + 1) % 7 + (7 if word == "lastWeek" else 0))
            return first, first + timedelta(days=6)
        case "currentMonth" | "priorMonth":
            return _months(today.year, today.month, 1, back=word == "priorMonth")
        case "currentQuarter" | "priorQuarter":
            return _months(today.year, (today.month - 1) // 3 * 3 + 1, 3, back=word == "priorQuarter")
    return _months(today.year, 1, 12, back=word == "priorYear")


def _months(year: int, month: int, length: int, *, back: bool) -> tuple[date, date]:
    """The stretch of ``length`` months from ``month``, or the one before it."""
    start = year * 12 + month - 1 - (length if back else 0)
    end = start + length
    return date(start // 12, start % 12 + 1, 1), date(end // 12, end % 12 + 1, 1) - timedelta(days=1)
