"""Running sums, for compiled models and for the compiler."""
