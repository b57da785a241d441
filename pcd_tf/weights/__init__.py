"""Weights as named arrays: files to arrays, arrays to Keras variables, every mismatch refused."""
