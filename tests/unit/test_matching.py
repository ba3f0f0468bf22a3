"""The ladder of evidence: which existing record is this one?"""

from __future__ import annotations

import pytest

from mappings.matching import Facts, Match, MatchPolicy, decide, normal_name, search_names
from mappings.names import same_name, stems

COMPANY = "Acme UK"
ERP = Facts("501", "C-77", "Orchard Foods Ltd", email="ivy@orchard.example", tax_number="GB123456789")


def crm(key: str = "43", **facts: object) -> Facts:
    return Facts(**{"key": key, "ref": key, **facts})  # type: ignore[arg-type]  # keywords of one test each


def ladder(*candidates: Facts, subject: Facts = ERP, policy: MatchPolicy = "ladder") -> Match:
    return decide("erp", subject, candidates, policy, COMPANY)


def test_nobody_found_is_none() -> None:
    assert ladder().kind == "none"
    assert ladder(crm(name="Somebody Else")).kind == "none"


class TestKeyColumns:
    @pytest.mark.parametrize("company", [None, "", COMPANY, "acme uk"])
    def test_a_key_column_that_names_the_record_links(self, company: str | None) -> None:
        match = ladder(crm(erp_key="501", erp_company=company, name="Renamed Since"), crm("44", name=ERP.name))
        assert (match.kind, match.key, match.step) == ("link", "43", "key_columns")

    def test_it_works_from_the_crm_side_too(self) -> None:
        match = decide("crm", crm(erp_key="501", erp_company=COMPANY), [ERP], "ladder", COMPANY)
        assert (match.kind, match.key) == ("link", "501")

    def test_key_columns_of_another_erp_company_say_nothing(self) -> None:
        assert ladder(crm(erp_key="501", erp_ref="C-77", erp_company="Acme France", name="Other")).kind == "none"

    def test_keys_keep_their_leading_zeros(self) -> None:
        subject = Facts("7", "0007", "Seven")
        assert ladder(crm(erp_key="07"), subject=subject).kind == "none"
        assert ladder(crm(erp_ref="7", name="Seven"), subject=subject).kind == "candidates"


class TestIdAndName:
    def test_customer_id_and_normalised_name_link_one_unlinked_record(self) -> None:
        match = ladder(crm(erp_ref="c-77", name="ORCHARD FOODS LIMITED"))
        assert (match.kind, match.key, match.step) == ("link", "43", "id_and_name")

    def test_two_such_records_are_for_a_person(self) -> None:
        match = ladder(crm("43", erp_ref="C-77", name=ERP.name), crm("44", erp_ref="C-77", name=ERP.name))
        assert match.kind == "candidates"
        assert [c.key for c in match.candidates] == ["43", "44"]

    def test_customer_id_with_another_name_is_for_a_person(self) -> None:
        match = ladder(crm(erp_ref="C-77", name="Elm Bakery"))
        assert (match.kind, match.candidates[0].why) == ("candidates", "customer id")

    def test_records_without_names_do_not_agree_in_name(self) -> None:
        assert ladder(crm(erp_ref="C-77", name="?!"), subject=Facts("501", "C-77", "!!")).kind == "candidates"


class TestCandidates:
    @pytest.mark.parametrize(
        ("facts", "why"),
        [
            ({"name": "Orchard Foods, Inc."}, "name"),
            ({"email": " IVY@orchard.example"}, "e-mail"),
            ({"tax_number": "GB 123 4567 89"}, "tax number"),
            ({"tax_number": "123456789"}, "tax number"),
        ],
    )
    def test_weak_evidence_is_a_candidate_and_never_a_link(self, facts: dict[str, str], why: str) -> None:
        match = ladder(crm(**facts))
        assert (match.kind, match.key, match.candidates[0].why) == ("candidates", None, why)

    def test_even_all_weak_evidence_together_never_links(self) -> None:
        assert ladder(crm(name=ERP.name, email=ERP.email, tax_number=ERP.tax_number)).kind == "candidates"

    def test_stronger_evidence_comes_first_then_the_more_similar_name(self) -> None:
        match = ladder(
            crm("1", name="Orchard Foods"),
            crm("2", email=ERP.email, name="Zebra"),
            crm("3", email=ERP.email, name="Orchard Food"),
            crm("4", tax_number=ERP.tax_number),
        )
        assert [c.key for c in match.candidates] == ["4", "3", "2", "1"]

    @pytest.mark.parametrize("placeholder", ["N/A", "0", "none", "unknown"])
    def test_placeholders_are_no_tax_numbers_and_no_addresses(self, placeholder: str) -> None:
        subject = Facts("501", "C-77", "A", email=placeholder, tax_number=placeholder)
        assert ladder(crm(email=placeholder, tax_number=placeholder, name="B"), subject=subject).kind == "none"

    def test_linked_records_are_no_candidates(self) -> None:
        assert ladder(crm(name=ERP.name, email=ERP.email, linked=True)).kind == "none"

    def test_the_order_in_which_candidates_arrive_does_not_matter(self) -> None:
        one, two = crm("1", name=ERP.name), crm("2", email=ERP.email)
        assert ladder(one, two) == ladder(two, one)


class TestConflicts:
    @pytest.mark.parametrize(
        "candidates",
        [
            [crm(erp_ref="C-77", erp_key="999", name=ERP.name)],
            [crm(erp_key="501", erp_ref="C-99", name=ERP.name)],
            [crm("43", erp_key="501"), crm("44", erp_key="501")],
            [crm("43", erp_key="501"), crm("44", erp_key="501", linked=True)],
            [crm(erp_key="501", linked=True)],
            [crm(erp_ref="C-77", name=ERP.name, linked=True)],
            [crm(erp_key="999", name=ERP.name)],
        ],
        ids=[
            "same customer id, other record number",
            "same record number, other customer id",
            "two records claim the key",
            "two records claim the key, one linked",
            "the key points to a linked record",
            "the customer id points to a linked record",
            "a namesake named by another key",
        ],
    )
    def test_contradicting_ids_are_a_conflict(self, candidates: list[Facts]) -> None:
        for policy in ("ladder", "strict_gumu"):
            match = ladder(*candidates, policy=policy)
            assert (match.kind, match.key) == ("conflict", None)
            assert match.candidates

    def test_a_contradiction_beats_a_clean_link_elsewhere(self) -> None:
        clean, contradicting = crm("43", erp_key="501"), crm("44", erp_ref="C-77", erp_key="999")
        assert ladder(clean, contradicting).kind == "conflict"

    def test_a_key_column_that_names_a_record_that_is_not_there_is_a_conflict(self) -> None:
        match = decide("crm", crm(erp_key="999", name="New"), [], "ladder", COMPANY)
        assert (match.kind, "999" in match.why) == ("conflict", True)

    def test_a_crm_record_of_another_erp_company_may_be_new_in_this_one(self) -> None:
        assert decide("crm", crm(erp_key="999", erp_company="Acme France"), [], "ladder", COMPANY).kind == "none"

    def test_a_namesake_with_a_key_of_its_own_does_not_disturb_a_certain_link(self) -> None:
        assert ladder(crm("43", erp_key="501"), crm("44", erp_key="999", name=ERP.name)).key == "43"

    def test_a_namesake_with_a_key_of_its_own_that_is_linked_does_not_stop_a_new_record(self) -> None:
        assert ladder(crm(erp_key="999", name=ERP.name, linked=True)).kind == "none"

    def test_reasons_hold_keys_and_never_names(self) -> None:
        match = ladder(crm(erp_ref="C-77", erp_key="999", name=ERP.name))
        assert "43" in match.why
        assert "Orchard" not in match.why


class TestStrictPolicy:
    def test_it_links_when_all_three_agree(self) -> None:
        match = ladder(crm(erp_key="501", erp_ref="C-77", name="orchard foods"), policy="strict_gumu")
        assert (match.kind, match.step) == ("link", "all_three")

    @pytest.mark.parametrize(
        "facts",
        [
            {"erp_key": "501", "erp_ref": "C-77", "name": "Renamed"},
            {"erp_key": "501", "name": ERP.name},
            {"erp_ref": "C-77", "name": ERP.name},
        ],
    )
    def test_two_of_three_are_for_a_person(self, facts: dict[str, str]) -> None:
        assert ladder(crm(**facts), policy="strict_gumu").kind == "candidates"


class TestNames:
    @pytest.mark.parametrize(
        ("a", "b"),
        [
            ("Orchard Foods Ltd", "ORCHARD  FOODS LIMITED"),
            ("Acme S.A.", "Acme SA"),
            ("Müller GmbH & Co. KG", "muller gmbh"),
            ("Ferrero S.p.A.", "Ferrero"),
            ("O'Brien & Sons, Inc.", "O’Brien and Sons LLC"),
            ("Łódź Sp. z o.o.", "LODZ"),
            ("J.P. Morgan PLC", "JP Morgan"),
            ("Schmidt + Söhne GmbH", "SCHMIDT UND SÖHNE G.m.b.H."),
        ],
    )
    def test_case_marks_punctuation_and_legal_form_make_no_difference(self, a: str, b: str) -> None:
        assert normal_name(a) == normal_name(b) != ""

    @pytest.mark.parametrize(
        ("a", "b"),
        [("Serenity Spa", "Serenity"), ("Orchard Foods", "Orchard Food"), ("Limited", "Ltd"), ("Unit 1", "Unit 11")],
    )
    def test_different_names_stay_different(self, a: str, b: str) -> None:
        assert normal_name(a) != normal_name(b)

    @pytest.mark.parametrize(
        ("name", "asked"),
        [
            ("Orchard  Foods Ltd.", ("Orchard Foods Ltd.", "Orchard Foods")),
            ("Müller GmbH & Co. KG", ("Müller GmbH & Co. KG", "Müller")),
            ("Elm Bakery", ("Elm Bakery",)),
            ("???", ("???",)),
            ("  ", ()),
        ],
    )
    def test_a_search_asks_for_the_exact_name_and_the_one_without_legal_form(
        self, name: str, asked: tuple[str, ...]
    ) -> None:
        assert search_names(name) == asked

    @pytest.mark.parametrize(
        ("a", "b", "same"),
        [
            ("Müller Bau GmbH", "Mueller Bau", True),
            ("Müller Bau GmbH", "MULLER BAU", True),
            ("Straße 7", "Strasse 7", True),
            ("Mueller", "Muller", False),  # without an umlaut on either side these are two names
            ("Bauer", "Baur", False),
            ("!!", "??", False),
        ],
    )
    def test_an_umlaut_may_be_written_with_an_e_or_without_its_dots(self, a: str, b: str, same: bool) -> None:
        assert same_name(a, b) is same_name(b, a) is same

    @pytest.mark.parametrize(
        ("name", "pieces"),
        [
            ("Smith & Sons Ltd.", ("Smith", "Sons")),
            ("Schmidt und Söhne GmbH", ("Schmidt", "S", "hne")),
            ("Mueller Bau", ("M", "ller", "Bau")),
            ("Österreich AG", ("", "sterreich")),
            ("Esso Ltd", ("Esso",)),
            ("X Ltd", ()),
            ("", ()),
            ("e\u0301" * 60, ("e",) * 5),
            ("A & B & C Dairy & D & Farm Shops & Co", ("A", "B", "Dairy", "Farm", "Shops")),
        ],
    )
    def test_a_search_asks_for_the_pieces_that_every_spelling_has(self, name: str, pieces: tuple[str, ...]) -> None:
        assert stems(name) == pieces
