"""`python -m txraft` is the `txraft` command."""

from __future__ import annotations

import sys

from txraft.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
