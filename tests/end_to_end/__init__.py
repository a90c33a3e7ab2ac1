"""Real processes: what only shows when the whole is installed, started, killed and started again."""
