"""How good a network's answers are, measured as the field measures it."""
