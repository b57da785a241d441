"""The jobs: `run(config)` of each, read from top to bottom."""
