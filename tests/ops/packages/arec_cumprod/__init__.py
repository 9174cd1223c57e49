"""Running products, for compiled models and for the compiler."""
