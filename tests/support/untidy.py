"""Two filled systems that nobody ever joined: the same customers under names that people typed twice.

``fill`` makes them from a seed, and says what is true about them, so that a first link-up can be judged.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from support.world import World

_FIRST = (
    "Northwind", "Orchard", "Müller", "Schröder", "Brückner", "O'Brien", "Smith-Jones", "Åkesson", "Weiß", "Jäger",
    "Harbour", "Kestrel", "Löwe", "Mill Lane", "Novák", "Façade", "Pinewood", "Quarry", "Rosé", "Straßer", "Tindal",
    "Upland", "Vögele", "Wharf", "Yarrow", "Zeller", "Ashby", "Birke & Falk", "Cooper & Sons", "Dürr",
)  # fmt: skip
_SECOND = (
    "Foods", "Tools", "Textiles", "Timber", "Papers", "Optics", "Motors", "Ceramics", "Cycles", "Gardens", "Bau",
    "Logistik", "Möbel", "Küchen", "Glas", "Print", "Dairy", "Marine", "Energy", "Systems",
)  # fmt: skip
_THIRD = (
    "",
    "West",
    "East",
    "Central",
    "Coast",
    "Valley",
    "Upper",
    "Lower",
    "Old Town",
    "Harbourside",
    "Bridge",
    "Station",
    "Riverside",
    "Park",
)
_SUFFIXES = ("Ltd", "GmbH", "plc", "LLC", "AG", "S.A.", "Inc")
_ALSO = {
    "Ltd": "Limited",
    "GmbH": "G.m.b.H.",
    "plc": "PLC.",
    "LLC": "L.L.C.",
    "AG": "A.G.",
    "S.A.": "SA",
    "Inc": "Inc.",
}
_DIGRAPHS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "aa", "Å": "Aa"})


@dataclass
class Truth:
    """Keys of what was filled in. ``sure``: ERP -> CRM, provable by an id; ``likely``: the same without any id.

    ``near``: ERP customers whose CRM look-alikes are others; ``torn``: ERP -> the CRM companies it may be.
    """

    sure: dict[str, str] = field(default_factory=dict)
    likely: dict[str, str] = field(default_factory=dict)
    near: set[str] = field(default_factory=set)
    torn: dict[str, set[str]] = field(default_factory=dict)
    erp_only: set[str] = field(default_factory=set)
    crm_only: set[str] = field(default_factory=set)


def names(rng: random.Random) -> Iterator[str]:
    """Different customers, in an order of the seed's."""
    every = list(itertools.product(_FIRST, _SECOND, _THIRD))
    rng.shuffle(every)
    for first, second, third in every:
        yield " ".join(part for part in (first, second, third) if part)


def untidy(name: str, suffix: str, rng: random.Random) -> str:
    """The same name as somebody else typed it."""
    habits: list[Callable[[str], str]] = [
        str.upper,
        str.lower,
        lambda text: text.replace(" ", "  "),
        lambda text: text.translate(_DIGRAPHS),
        lambda text: text.replace("&", "and").replace("-", " "),
        lambda text: text.replace("&", "+"),
        lambda text: f"{text},",
        lambda text: text.replace("'", "\u2019"),
    ]
    typed = name
    for habit in rng.sample(habits, rng.randint(1, 3)):
        typed = habit(typed)
    return f"{typed} {rng.choice((suffix, _ALSO[suffix], suffix.upper(), ''))}".strip()


class _Filler:
    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng, self._names = world, rng, names(rng)
        self._number = 0

    def fresh(self) -> tuple[str, str]:
        return next(self._names), self._rng.choice(_SUFFIXES)

    def erp(self, name: str) -> tuple[str, str, int]:
        """Key, customer id and number of a new customer with e-mail and phone."""
        self._number += 1
        n, ref = self._number, f"C-{self._number:05d}"
        contact = {"email1": f"Desk{n}@customer-{n}.example", "phone1": f"+44 113 {4960000 + n}"}
        columns = {f"contacts.default.{column}": value for column, value in contact.items()}
        return self._world.new_erp(name, id=ref, **columns), ref, n

    def crm(self, name: str, number: int | None = None, **columns: Any) -> str:
        """A new company; ``number``: it has that customer's e-mail and phone, typed in another way."""
        if number is not None:
            area = self._rng.choice(("0113", "113", "(0113)"))
            phone = {"$type": "Business", "Phon_CountryCode": "44", "Phon_AreaCode": area}
            typed = f"{4960000 + number}"
            columns |= {
                "email": [{"$type": "Business", "Emai_EmailAddress": f"desk{number}@CUSTOMER-{number}.example"}],
                "phone": [{**phone, "Phon_Number": self._rng.choice((typed, f"{typed[:3]} {typed[3:]}"))}],
            }
        return self._world.new_crm(name, **columns)


def fill(world: World, seed: int, same: int, near: int, torn: int, alone: int) -> Truth:
    """Fill both systems. Of ``same`` customers nine in ten carry an id, by which they can be told for sure."""
    rng = random.Random(seed)
    filler, truth = _Filler(world, rng), Truth()
    for n in range(same):
        name, suffix = filler.fresh()
        key, ref, number = filler.erp(f"{name} {suffix}")
        if n % 20 == 0:  # renamed since, but the CRM knows the record number
            crm = filler.crm(f"Formerly {n}", number, comp_intacct_recordno=key, comp_intacct_customerid=ref)
            truth.sure[key] = crm
        elif n % 20 == 1:
            truth.likely[key] = filler.crm(untidy(name, suffix, rng))
        else:
            truth.sure[key] = filler.crm(untidy(name, suffix, rng), number, comp_intacct_customerid=ref.lower())
    for n in range(near):
        name, suffix = filler.fresh()
        key, ref, number = filler.erp(f"{name} {suffix}")
        if n % 2:  # two branches that are both customers
            twin, twin_ref, twin_number = filler.erp(f"{name} II {suffix}")
            truth.sure[twin] = filler.crm(untidy(f"{name} II", suffix, rng), twin_number,
                                          comp_intacct_customerid=twin_ref)  # fmt: skip
            truth.sure[key] = filler.crm(untidy(name, suffix, rng), number, comp_intacct_customerid=ref)
        else:
            truth.near.add(key)
            truth.crm_only.add(filler.crm(untidy(f"{name} Holding", suffix, rng)))
    for n in range(torn):
        name, suffix = filler.fresh()
        key, ref, _ = filler.erp(f"{name} {suffix}")
        columns = {"comp_intacct_customerid": ref} if n % 2 else {}
        truth.torn[key] = {filler.crm(untidy(name, suffix, rng), **columns) for _ in range(2)}
    for _ in range(alone):
        truth.erp_only.add(filler.erp(" ".join(filler.fresh()))[0])
        truth.crm_only.add(filler.crm(" ".join(filler.fresh())))
    return truth
