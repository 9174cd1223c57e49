"""Axes, types, static values and their arithmetic."""
