"""One file a contender, each with `build(task) -> Contender`."""
