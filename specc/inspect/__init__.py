"""What a trained model's values mean: the attention of an example over its own history (`attention`), which
fields matter (`importance`), and which rows of a table are alike (`nearest`)."""
