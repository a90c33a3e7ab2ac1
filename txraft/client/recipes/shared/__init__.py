"""The recipes themselves, each written once: coroutines over a small port, `store.Store`, that both kinds of client fill.

Standard library only.
"""
