"""What can't be written in the language itself, one file a group of the language page."""
