"""Units on the shelf, as a replicated state machine."""
