"""The words for counting and naming: terms, indexes, servers.

Source: Ongaro's dissertation, Figure 3.1.
"""

from __future__ import annotations

from typing import NewType

__all__ = ["Index", "ServerId", "Term"]

Term = NewType("Term", int)
"""A term number; 0 before the first election."""

Index = NewType("Index", int)
"""The position of an entry in the log; the first entry has index 1, 0 means "before the log"."""

ServerId = NewType("ServerId", str)
"""The name of a server, unique in its cluster for ever."""
