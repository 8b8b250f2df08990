"""Leases out of pools: no address twice, the old one again, and no memory for what nobody has."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ikecore.addressing import Pool
from ikecore.endpoint.leases import Leases
from ikecore.outputs import SaId

SMALL = Pool(name="small", addresses=("10.3.0.0/29",))  # 10.3.0.1 to 10.3.0.6
PLENTY = 10_000
HUGE = Pool(name="huge", addresses=("10.0.0.0/8", "2001:db8::/64"))


def take(
    leases: Leases, sa: int, identity: str = "someone", pool: Pool = SMALL, version: int = 4, wanted: str | None = None
) -> str | None:
    found = leases.take(SaId(sa), (identity, "c"), (pool,), version, wanted)
    return None if found is None else found[0]


@pytest.mark.requirement("IKE-303")
def test_addresses_are_given_in_order_until_there_is_none() -> None:
    leases = Leases(10, PLENTY)
    given = [take(leases, sa, f"peer {sa}") for sa in range(7)]
    assert given == [f"10.3.0.{last}" for last in range(1, 7)] + [None]
    leases.release(SaId(3))
    assert take(leases, 8, "peer 8") == "10.3.0.4"


def test_an_identity_gets_its_old_address_back() -> None:
    leases = Leases(10, PLENTY)
    assert [take(leases, 1, "alice"), take(leases, 2, "bob")] == ["10.3.0.1", "10.3.0.2"]
    leases.release(SaId(1))
    leases.release(SaId(2))
    assert take(leases, 3, "carol") == "10.3.0.3"  # nobody's before anybody's
    assert take(leases, 4, "bob") == "10.3.0.2"
    assert take(leases, 5, "alice") == "10.3.0.1"
    assert take(leases, 6, "alice") == "10.3.0.4"  # with two SAs at once she needs another one


def test_two_sas_of_one_peer_have_one_address_while_the_second_takes_over() -> None:
    leases = Leases(10, 1)
    alice, bob = ("alice", "c"), ("bob", "c")
    assert take(leases, 1, "alice") == "10.3.0.1"
    for before, wanted in (((), "10.3.0.1"), ((1,), None), ((1,), "10.3.0.2")):
        assert leases.take(SaId(2), alice, (SMALL,), 4, wanted, before) is None, "alice may have no second one"  # type: ignore[arg-type]
    assert leases.take(SaId(3), bob, (SMALL,), 4, "10.3.0.1", [SaId(1)])[0] == "10.3.0.2", "it is alice's"  # type: ignore[index]
    assert leases.take(SaId(2), alice, (SMALL,), 4, "10.3.0.1", [SaId(1)])[0] == "10.3.0.1"  # type: ignore[index]
    assert len(leases) == 2
    leases.release(SaId(1))
    assert take(leases, 4, "carol", wanted="10.3.0.1") == "10.3.0.3", "the second SA has it yet"
    leases.release(SaId(2))
    assert take(leases, 5, "dora", wanted="10.3.0.1") == "10.3.0.1"
    leases.release(SaId(3))
    leases.release(SaId(4))
    leases.release(SaId(5))
    assert len(leases) == 0
    assert leases.may_take(alice)


def test_what_one_had_goes_to_others_before_the_pool_is_at_its_end() -> None:
    leases = Leases(10, PLENTY)
    for sa in range(6):
        take(leases, sa, f"peer {sa}")
    leases.release(SaId(2))
    leases.release(SaId(0))
    assert take(leases, 10, "new") == "10.3.0.3"  # that of the one who is gone the longest
    assert take(leases, 11, "peer 0") == "10.3.0.1"
    assert take(leases, 12, "peer 2") is None


def test_the_memory_of_past_leases_is_bounded() -> None:
    leases = Leases(2, PLENTY)
    for sa in range(3):
        take(leases, sa, f"peer {sa}")
    for sa in range(3):
        leases.release(SaId(sa))
    assert take(leases, 10, "new") == "10.3.0.1"  # peer 0 is forgotten, so its address comes before a fresh one
    assert take(leases, 11, "peer 2") == "10.3.0.3"
    assert take(leases, 12, "peer 0") == "10.3.0.4"


def test_nothing_is_lost_without_a_memory() -> None:
    leases = Leases(0, PLENTY)
    for sa in range(3):
        assert take(leases, sa, "same") == "10.3.0.1"
        leases.release(SaId(sa))
    given = {take(leases, sa, f"peer {sa}") for sa in range(10, 16)}
    assert given == {f"10.3.0.{last}" for last in range(1, 7)}


def test_a_wanted_address_is_given_if_it_is_free() -> None:
    leases = Leases(10, PLENTY)
    assert take(leases, 1, "alice", wanted="10.3.0.5") == "10.3.0.5"
    assert take(leases, 2, "bob", wanted="10.3.0.5") == "10.3.0.1"
    assert take(leases, 3, "carol", wanted="192.0.2.1") == "10.3.0.2"
    leases.release(SaId(1))
    assert take(leases, 4, "bob", wanted="10.3.0.5") == "10.3.0.5"
    given = [take(leases, sa, f"peer {sa}") for sa in range(5, 10)]
    assert given == ["10.3.0.3", "10.3.0.4", "10.3.0.6", None, None]


def test_an_interface_identifier_is_kept_under_another_prefix() -> None:
    leases = Leases(10, PLENTY)
    assert take(leases, 1, "alice", HUGE, 6, "2001:db8::dead:beef") == "2001:db8::dead:beef"
    assert take(leases, 2, "bob", HUGE, 6, "fe80::b0b") == "2001:db8::b0b"
    assert take(leases, 3, "carol", HUGE, 6, "fe80::b0b") == "2001:db8::1"


def test_a_large_pool_takes_no_memory_and_no_time() -> None:
    leases = Leases(10, PLENTY)
    for sa in range(1000):
        assert take(leases, sa, "same", HUGE) == f"10.0.{(sa + 1) >> 8}.{(sa + 1) & 255}"
        assert take(leases, sa, "same", HUGE, 6) is not None
    for sa in range(1000):
        leases.release(SaId(sa))
    assert len(leases) == 0
    assert take(leases, 2000, "someone else", HUGE) == "10.0.0.1"


def test_an_address_that_the_application_chose_is_nobody_elses() -> None:
    leases = Leases(10, PLENTY)
    assert leases.hold(SaId(1), ("alice", "c"), "10.3.0.1")
    assert leases.hold(SaId(1), ("alice", "c"), "10.3.0.1")
    assert leases.hold(SaId(1), ("alice", "c"), "192.0.2.1")
    assert not leases.hold(SaId(2), ("bob", "c"), "192.0.2.1")
    assert [take(leases, sa, f"peer {sa}") for sa in range(3, 9)] == [f"10.3.0.{n}" for n in range(2, 7)] + [None]
    leases.release(SaId(1))  # it was chosen before anything was known of the pool
    assert leases.hold(SaId(2), ("bob", "c"), "192.0.2.1")
    assert take(leases, 20, "peer 20") == "10.3.0.1"


def test_one_identity_leaves_something_for_the_others() -> None:
    leases = Leases(10, 2)
    assert [take(leases, sa, "greedy") for sa in range(4)] == ["10.3.0.1", "10.3.0.2", None, None]
    assert take(leases, 4, "greedy", wanted="10.3.0.6") is None
    assert take(leases, 5, "other") == "10.3.0.3"
    found = leases.take(SaId(6), ("greedy", "another connection"), (SMALL,), 4)
    assert found is not None  # whoever proved the same name by other means may be somebody else
    leases.release(SaId(2))  # it has none
    assert take(leases, 7, "greedy") is None
    leases.release(SaId(0))
    assert take(leases, 8, "greedy") == "10.3.0.1"
    assert take(leases, 9, "greedy") is None
    for sa in range(10):
        leases.release(SaId(sa))
    assert len(leases) == 0
    assert vars(leases)["_held"] == {}


POOLS = (
    Pool(name="a", addresses=("10.3.0.1-10.3.0.4", "2001:db8::1-2001:db8::3")),
    Pool(name="b", addresses=("10.3.0.9-10.3.0.11",)),
)


class LeaseMachine(RuleBasedStateMachine):
    """Any order of taking, wanting, choosing and giving back, against a table of who has what."""

    MOST = 4

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases(3, self.MOST)
        self.held: dict[str, int] = {}

    def holder(self, sa: int) -> tuple[str, str]:
        """Nine SAs of three identities; that of the first is proved to two connections."""
        return "abc"[sa % 3], "two" if sa == 9 else "one"

    def has(self, sa: int) -> int:
        return sum(self.holder(each) == self.holder(sa) for each in self.held.values())

    @rule(
        sa=st.integers(1, 9),
        version=st.sampled_from((4, 6)),
        pools=st.sampled_from((POOLS, POOLS[:1], POOLS[1:])),
        wanted=st.none() | st.integers(0, 12),
    )
    def take(self, sa: int, version: int, pools: tuple[Pool, ...], wanted: int | None) -> None:
        text = None if wanted is None else f"10.3.0.{wanted}" if version == 4 else f"2001:db8::{wanted:x}"
        found = self.leases.take(SaId(sa), self.holder(sa), pools, version, text)
        all_of_it = {
            str(each.address(number))
            for pool in pools
            for each in pool.ranges
            if each.version == version
            for number in range(each.first, each.last + 1)
        }
        free = all_of_it - set(self.held)
        assert (found is None) == (not free or self.has(sa) >= self.MOST)
        if found is not None:
            assert found[0] in free
            assert text not in free or found[0] == text
            self.held[found[0]] = sa

    @rule(sa=st.integers(1, 9), last=st.integers(1, 12))
    def hold(self, sa: int, last: int) -> None:
        address = f"10.3.0.{last}"
        assert self.leases.hold(SaId(sa), self.holder(sa), address) == (self.held.get(address, sa) == sa)
        self.held.setdefault(address, sa)

    @rule(sa=st.integers(1, 9))
    def release(self, sa: int) -> None:
        self.leases.release(SaId(sa))
        self.held = {address: holder for address, holder in self.held.items() if holder != sa}

    @invariant()
    def as_many_as_we_know(self) -> None:
        assert len(self.leases) == len(self.held)


TestLeaseMachine = LeaseMachine.TestCase
TestLeaseMachine.settings = settings(stateful_step_count=40)
