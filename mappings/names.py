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
_DIGRAPHS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_JOINERS = {"und": "and", "et": "and"}  # "Smith & Sons", "Schmidt und Söhne", "Petit et Fils"
# Where spellings differ: what is no plain letter or digit, umlauts written with an e, and ss for ß.
_VARIES = re.compile(r"(?i)ae|oe|ue|aa|ss|[^a-z0-9]", re.ASCII)
_NO_LETTER = re.compile(r"[^A-Za-z0-9]")
MIN_STEM = 3  # letters: a shorter piece is everybody's
MOST_STEMS = 4  # behind the first: a vendor that tries every place for each of dozens is busy with one name for minutes


@lru_cache(maxsize=65536)
def normal_name(name: str) -> str:
    """Without case, marks, punctuation and legal form; "" for a name of punctuation only, which matches nothing."""
    words = _words(name)
    end = len(words)
    while end > 1 and _is_form(words[end - 1], stripped=end < len(words)):
        end -= 1
    return " ".join(word for word, _ in words[:end])


@lru_cache(maxsize=65536)
def name_keys(name: str) -> frozenset[str]:
    """The normal forms of a name: an umlaut may stand for its bare letter or for that with an e (Muller, Mueller)."""
    composed = unicodedata.normalize("NFKC", name).casefold()
    return frozenset({normal_name(name), normal_name(composed.translate(_DIGRAPHS))} - {""})


def same_name(a: str, b: str) -> bool:
    """Equal in a normal form; names of punctuation only equal nothing."""
    return not name_keys(a).isdisjoint(name_keys(b))


def stems(name: str) -> tuple[str, ...]:
    """Pieces that every spelling of a name has, in this order: for a vendor's search, which knows no normal form.

    The first is "" where a name may begin in several ways; behind it stand the ``MOST_STEMS`` longest at most. Empty
    when together they are too short to mean much.
    """
    shortest = search_names(name)[-1:]
    words = (
        [word for word in _plain_words(shortest[0]) if word.casefold() not in ("and", *_JOINERS)] if shortest else []
    )
    for varies in (_VARIES, _NO_LETTER):
        pieces = [piece for word in words for piece in varies.split(word)]
        found = [piece for piece in pieces if piece]
        if sum(map(len, found)) >= MIN_STEM:
            others = found[1:] if pieces[0] else found
            longest = sorted(sorted(range(len(others)), key=lambda i: -len(others[i]))[:MOST_STEMS])
            return (pieces[0], *(others[i] for i in longest))
    return ()


def _plain_words(text: str) -> list[str]:
    return text.replace("&", " ").replace("+", " ").split()


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
    plain = "".join(c for c in plain if not unicodedata.combining(c)).replace("&", " and ").replace("+", " and ")
    plain = plain.replace("'", "").replace("\u2019", "")
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
            words.append((_JOINERS.get(word, word), False))
    return words


def _is_form(word: tuple[str, bool], *, stripped: bool) -> bool:
    text, dotted = word
    return text in (DOTTED_FORMS if dotted else LEGAL_FORMS) or (stripped and text in ("and", "sp"))
