"""arec: a declarative language for recommendation models, and its compiler."""
