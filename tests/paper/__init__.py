"""Sentences of Ongaro's dissertation, each in a few words of our own and shown to hold. `txraft/docs/paper-tests.md` lists them."""
