from __future__ import annotations

from tests.client.recipes.recipe_case import RecipeCase
from tests.support.recipe_world import Chances, WorldStore
from txraft.client.recipes.shared.party import PlainParty
from txraft.client.recipes.shared.trouble import AlreadyHeld

PATH = "/tests/party"


class PartyTests(RecipeCase):
    def party(self, identifier: str = "") -> tuple[WorldStore, PlainParty]:
        store, session = self.session()
        return store, PlainParty(session, PATH, identifier)

    def members(self) -> list[str]:
        return self.result(self.party()[1].members())

    def test_members_come_and_go(self) -> None:
        parties = [self.party(name)[1] for name in "abc"]
        for party in parties:
            self.result(party.join())
        self.assertEqual(self.members(), ["a", "b", "c"])
        self.assertEqual(self.result(parties[0].count()), 3)
        self.result(parties[1].leave())
        self.result(parties[1].leave())
        self.assertEqual(self.members(), ["a", "c"])
        self.assertEqual([party.participating for party in parties], [True, False, True])
        self.result(parties[1].join())
        self.assertEqual(self.members(), ["a", "c", "b"])

    def test_one_that_died_is_no_member_any_more(self) -> None:
        (store, one), (_, other) = self.party("a"), self.party("b")
        self.result(one.join())
        self.result(other.join())
        store.crash()
        self.pass_time(8)
        self.assertEqual(self.members(), ["b"])

    def test_one_that_was_cut_off_can_join_again(self) -> None:
        store, party = self.party("a")
        self.result(party.join())
        self.failure_of(party.join(), AlreadyHeld)
        store.chances = Chances(not_applied=1.0)
        self.pass_time(8)
        self.assertFalse(party.participating)
        store.chances = Chances()
        self.result(party.join())
        self.assertEqual(self.members(), ["a"])

    def test_a_join_that_is_cancelled_is_none(self) -> None:
        store, party = self.party("a")
        store.chances = Chances(longest_s=1.0)
        for after_s in (0.1, 0.5, 1.0, 1.5, 2.0, 2.5):
            joining = self.start(party.join())
            self.pass_time(after_s)
            if joining.called:
                self.result(party.leave(), 3)
            else:
                joining.cancel()
                self.failureResultOf(joining)
            self.pass_time(10)
            self.assertEqual(self.members(), [])
