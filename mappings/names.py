"""Company names for matching: what is left of a name once spelling habits and the legal form are taken away.

Only ever a key for finding and comparing; equal keys alone never link two records.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_FORMS_BY_COUNTRY = {
    "GB IE AU": ("ltd", "limited", "plc", "llp", "lp", "cic", "unlimited", "ulc", "pty", "co", "company"),
    "US": ("llc", "inc", "incorporated", "corp", "corporation"),
    "DE AT": ("gmbh", "mbh", "ag", "kg", "kgaa", "ohg", "ug", "ev"),
    "FR IT ES PT": ("sa", "sas", "sarl", "srl", "sl", "lda", "ltda"),
    "NL BE": ("bv", "nv"),
    "SE FI DK CZ": ("ab", "oy", "oyj", "aps", "sro"),
}
LEGAL_FORMS = frozenset(form for forms in _FORMS_BY_COUNTRY.values() for form in forms)
# Words of the language when written in one piece: only counted as a legal form when written with dots (S.p.A., A/S).
DOTTED_FORMS = LEGAL_FORMS | frozenset(("spa", "as", "se", "doo", "zoo", "eu", "sc"))
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})
_WORD = re.compile(r"[^\W_]+")


@lru_cache(maxsize=65536)
def normal_name(name: str) -> str:
    """Without case, marks, punctuation and legal form; "" for a name of punctuation only, which matches nothing."""
    words = _words(name)
    end = len(words)
    while end > 1 and _is_form(words[end - 1], stripped=end < len(words)):
        end -= 1
    return " ".join(word for word, _ in words[:end])


def search_names(name: str) -> tuple[str, ...]:
    """What to ask a vendor for: the exact name, and the name as typed without its legal form where that differs."""
    exact = " ".join(name.split())
    if not exact:
        return ()
    words = exact.split(" ")
    core = normal_name(exact)
    starts = (" ".join(words[: i + 1]) for i in range(len(words)))
    short = next((start for start in starts if normal_name(start) == core), exact).rstrip(" ,.&-")
    return (exact,) if short in (exact, "") else (exact, short)


def _words(name: str) -> list[tuple[str, bool]]:
    """Words without case and marks; single letters in a row are one word, marked as written with dots."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold().translate(_LETTERS))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).replace("&", " and ").replace("'", "")
    plain = plain.replace("\u2019", "")
    words: list[tuple[str, bool]] = []
    letters: list[str] = []
    for word in (*_WORD.findall(plain), ""):
        if len(word) == 1 and word.isalpha():
            letters.append(word)
            continue
        if letters:
            words.append(("".join(letters), len(letters) > 1))
            letters = []
        if word:
            words.append((word, False))
    return words


def _is_form(word: tuple[str, bool], *, stripped: bool) -> bool:
    text, dotted = word
    return text in (DOTTED_FORMS if dotted else LEGAL_FORMS) or (stripped and text in ("and", "sp"))
