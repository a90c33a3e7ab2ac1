"""The house rules as tests. Each rule is a small function from source text to problems, itself tested with text it must reject."""
