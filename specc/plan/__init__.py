"""Where a model fits: memory and moves by device, and a placement proposed, from the typed graph alone."""
