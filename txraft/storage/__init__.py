"""The disk of a server: term, vote and log, made durable before anything is said that rests on them.

Blocking, threadless and without Twisted; the node calls it from its disk worker. The format is in `docs/disk-format.md`.
"""

from txraft.storage.files import REAL_FILES, File, FileSystem
from txraft.storage.identity import DirectoryIdentity
from txraft.storage.replay import Recovered
from txraft.storage.storage import Storage

__all__ = ["REAL_FILES", "DirectoryIdentity", "File", "FileSystem", "Recovered", "Storage"]
