"""Runs a graph of plain Python functions, with one and the same report on every runner."""
