"""The `txraft` command: one module per family of subcommands, each imported when it is used.

Only `bench` and `node` need Twisted; the others begin fast.
"""
