"""Election: whoever holds the lock leads."""

from __future__ import annotations

from txraft.client.recipes.shared.lease import Session
from txraft.client.recipes.shared.locks import PlainLock

__all__ = ["PlainElection"]


class PlainElection(PlainLock):
    """A lock whose holder leads.

    Args:
        session: holds the lease.
        path: of the election.
        identifier: of the candidate.
    """

    def __init__(self, session: Session, path: str | bytes, identifier: str = "") -> None:
        super().__init__(session, path, identifier)

    async def leader(self) -> str | None:
        """Who leads, as far as the store knows: the first of `contenders`."""
        names = await self.contenders()
        return names[0] if names else None
