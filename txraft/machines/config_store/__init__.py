"""A config store: keys with all their versions at one counter of revisions, transactions, leases and watches, as etcd's users know them."""

from __future__ import annotations

from txraft.machines.config_store.store import ConfigStore

__all__ = ["ConfigStore"]
