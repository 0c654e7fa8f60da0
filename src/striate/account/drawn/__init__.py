"""Ledgers and comparisons as pages, graphs and pictures."""
