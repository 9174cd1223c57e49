"""Predict memory and transfers by device, and propose placements, from the lowered program alone."""
