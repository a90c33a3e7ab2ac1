"""Party: who is here."""

from __future__ import annotations

from txraft.client.recipes.shared.lease import Session
from txraft.client.recipes.shared.line import Claim, LeaseGone, Line, path_bytes
from txraft.client.recipes.shared.patience import Patience
from txraft.client.recipes.shared.trouble import AlreadyHeld

__all__ = ["PlainParty"]


class PlainParty:
    """Members, each there for as long as its client lives and has not left.

    Args:
        session: holds the lease.
        path: of the party.
        identifier: what the others see of this member.
    """

    def __init__(self, session: Session, path: str | bytes, identifier: str = "") -> None:
        self.path = path_bytes(path)
        self.identifier = identifier
        self._session = session
        self._line = Line(session, self.path)
        self._claim: Claim | None = None
        self._joining = False

    @property
    def participating(self) -> bool:
        """Whether this client certainly is a member, at this moment."""
        return self._claim is not None and self._claim.lease.alive

    async def join(self) -> None:
        """Become a member. After the lease was lost, `join` makes this client a member again.

        Raises:
            AlreadyHeld: it is one, or is about to be.
        """
        if self._joining or self.participating:
            raise AlreadyHeld(f"Party {self.path.decode('utf-8', 'replace')}: this object has joined already")
        self._joining = True
        patience = Patience(self._session.store)
        try:
            await self.leave()
            while self._claim is None:
                claim = await self._line.new_claim(patience)
                try:
                    await self._line.join(claim, self.identifier.encode(), patience)
                    claim.check()
                except LeaseGone:
                    self._line.leave_later(claim)
                except BaseException:
                    self._line.leave_later(claim)
                    raise
                else:
                    self._claim = claim
        finally:
            self._joining = False

    async def leave(self) -> None:
        """Be no member any more; nothing happens if this client is none."""
        claim, self._claim = self._claim, None
        if claim is None:
            return
        if claim.lease.alive:
            await self._line.leave(claim)
        else:
            self._line.leave_later(claim)

    async def members(self) -> list[str]:
        """The identifiers of all members, in the order they came."""
        return await self._line.contenders()

    async def count(self) -> int:
        """How many members there are."""
        answer = await self._session.query("range", key=self._line.prefix, prefix=True, count_only=True)
        return int(answer["count"])
