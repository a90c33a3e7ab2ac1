"""The `txraft` command: one module per family of subcommands, each imported when it is used.

Only `bench`, `dev` and `node` need a reactor; the others begin fast.
"""
