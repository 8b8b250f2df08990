"""Which address is whose: the leases of an endpoint, out of the pools of its connections (RFC 7296 section 2.19).

Taking and giving back cost the same whatever the size of a pool, and memory follows the leases, not the pools: of a
range only those addresses are known one by one that are leased now, that were leased to an identity which may come
back, or that are free again. The rest is "from *next* on". A peer that comes back gets the address it had, while that
is remembered and free. One that sets up SA after SA has so many at once, and the rest of the pool is for others. The
order of everything is fixed, so a run repeats.

An address belongs to one peer, which may have it with two SAs for a while: while it authenticates anew, the new SA has
what the old one has (RFC 7296 section 2.8.3). It is free when the last of them is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

import attrs

from ..addressing import AddressRange, Holder, Pool
from ..outputs import SaId

__all__ = ["Leases"]

IpAddress: TypeAlias = IPv4Address | IPv6Address
_LOW_64 = (1 << 64) - 1


@attrs.define
class _Stock:
    """The addresses of one range that nobody has now, by number.

    Those from *next* on nobody ever had. *past* are kept for the identities that had them, the longest free first;
    *again* were used and are anybody's.
    """

    range: AddressRange
    next: int
    again: OrderedDict[int, None] = attrs.field(factory=OrderedDict)
    past: OrderedDict[int, str] = attrs.field(factory=OrderedDict)
    past_of: dict[str, int] = attrs.field(factory=dict)

    def taken(self, number: int) -> None:
        """Somebody has *number* now."""
        self.again.pop(number, None)
        identity = self.past.pop(number, None)
        if identity is not None:
            del self.past_of[identity]
        self.next += number == self.next

    def given_back(self, number: int, identity: str, memory: int) -> None:
        """Keep *number* for *identity*, which gives it back, as the latest of *memory* such addresses."""
        earlier = self.past_of.pop(identity, None)
        if earlier is not None:
            del self.past[earlier]
            self._free(earlier)
        self.past[number] = identity
        self.past_of[identity] = number
        if len(self.past) > memory:
            oldest, its_owner = self.past.popitem(last=False)
            del self.past_of[its_owner]
            self._free(oldest)

    def _free(self, number: int) -> None:
        if number < self.next:  # from there on it goes without saying
            self.again[number] = None


class Leases:
    """The addresses that are leased, and who had which before (*memory* of those for each range).

    Of the pools each holder has at most *most* addresses at once.
    """

    def __init__(self, memory: int, most: int) -> None:
        self._memory = memory
        self._most = most
        self._stocks: dict[str, list[_Stock]] = {}
        self._taken: dict[IpAddress, tuple[SaId, ...]] = {}
        self._of: dict[SaId, tuple[Holder, dict[IpAddress, _Stock | None]]] = {}
        self._held: dict[Holder, int] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def may_take(self, holder: Holder) -> bool:
        """Tell whether *holder* may have one more address of the pools."""
        return self._held.get(holder, 0) < self._most

    def take(
        self,
        sa: SaId,
        holder: Holder,
        pools: Sequence[Pool],
        version: int,
        wanted: str | None = None,
        before: Collection[SaId] = (),
    ) -> tuple[str, AddressRange] | None:
        """Lease an address of family *version* (4 or 6) to *sa*; return it with its range, None if there is none.

        First the address *wanted*, also where one of the SAs *before* has it, which *sa* is to replace; then the one
        that the identity had, then one that nobody is expected back for, then the one whose owner is gone the longest.
        """
        identity = holder[0]
        stocks = [stock for pool in pools for stock in self._stock(pool) if stock.range.version == version]
        if wanted is not None and self._may_share(ip_address(wanted), holder, before):
            for stock in stocks:
                if ip_address(wanted) in stock.range:
                    return self._give(sa, holder, int(ip_address(wanted)), stock)
        if not self.may_take(holder):
            return None
        if wanted is not None:
            for address in _as_wanted(ip_address(wanted), stocks):
                for stock in stocks:
                    if address in stock.range and address not in self._taken:
                        return self._give(sa, holder, int(address), stock)
        for stock in stocks:
            if identity in stock.past_of:
                return self._give(sa, holder, stock.past_of[identity], stock)
        for stock in stocks:
            number = self._unused(stock)
            if number is not None:
                return self._give(sa, holder, number, stock)
        for stock in stocks:
            if stock.past:
                return self._give(sa, holder, next(iter(stock.past)), stock)
        return None

    def hold(self, sa: SaId, holder: Holder, address: str, before: Collection[SaId] = ()) -> bool:
        """Lease exactly *address*, of a pool or not, to *sa*; False if another SA has it that is none of *before*."""
        parsed = ip_address(address)
        has = self._taken.get(parsed, ())
        if sa in has:
            return True
        if has and not self._may_share(parsed, holder, before):
            return False
        self._note(sa, holder, parsed, self._stock_with(parsed))
        return True

    def release(self, sa: SaId) -> None:
        """Take back all that *sa* has, and has alone."""
        if sa not in self._of:
            return
        holder, addresses = self._of.pop(sa)
        for address, stock in addresses.items():
            others = tuple([each for each in self._taken[address] if each != sa])
            if others:
                self._taken[address] = others
                continue
            del self._taken[address]
            self._held[holder] -= 1
            stock = stock or self._stock_with(address)
            if stock is not None:
                stock.given_back(int(address), holder[0], self._memory)
        if not self._held.get(holder):
            self._held.pop(holder, None)

    # --- how ----------------------------------------------------------------------------------------------------------

    def _stock(self, pool: Pool) -> list[_Stock]:
        stocks = self._stocks.get(pool.name)
        if stocks is None:
            stocks = self._stocks[pool.name] = [_Stock(each, each.first) for each in pool.ranges]
        return stocks

    def _stock_with(self, address: IpAddress) -> _Stock | None:
        for stocks in self._stocks.values():
            for stock in stocks:
                if address in stock.range:
                    return stock
        return None

    def _unused(self, stock: _Stock) -> int | None:
        if stock.again:
            return next(iter(stock.again))
        while stock.next <= stock.range.last:
            if stock.range.address(stock.next) not in self._taken and stock.next not in stock.past:
                return stock.next
            stock.next += 1  # somebody wanted just this one, before its turn; once free it is in `again`
        return None

    def _give(self, sa: SaId, holder: Holder, number: int, stock: _Stock) -> tuple[str, AddressRange]:
        address = stock.range.address(number)
        self._note(sa, holder, address, stock)
        return str(address), stock.range

    def _may_share(self, address: IpAddress, holder: Holder, before: Collection[SaId]) -> bool:
        """Tell whether *address* is *holder*'s, by SAs which are all about to be replaced."""
        has = self._taken.get(address, ())
        return bool(has) and all(each in before and self._of[each][0] == holder for each in has)

    def _note(self, sa: SaId, holder: Holder, address: IpAddress, stock: _Stock | None) -> None:
        has = self._taken.get(address, ())
        self._taken[address] = (*has, sa)
        self._of.setdefault(sa, (holder, {}))[1][address] = stock
        if has:
            return
        self._held[holder] = self._held.get(holder, 0) + 1
        if stock is not None:
            stock.taken(int(address))


def _as_wanted(address: IpAddress, stocks: Sequence[_Stock]) -> Iterator[IpAddress]:
    """Yield the address itself, then the same interface identifier under our prefixes (RFC 7296 section 3.15.3)."""
    yield address
    if address.version == 6:
        for stock in stocks:
            if stock.range.prefix_length <= 64:
                yield IPv6Address(stock.range.first & ~_LOW_64 | int(address) & _LOW_64)
