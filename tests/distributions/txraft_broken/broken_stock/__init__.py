"""A state machine whose author forgot to require what it imports."""
