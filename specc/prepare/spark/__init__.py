"""`specc prepare --engine spark`: the same functions as on one machine, on the users of each partition.

files      which files a log is, and how they are read: what one machine would say of the first of them
reading    the task that makes events of the lines or rows of a partition (engines.typed)
session    Spark itself, and what goes wrong with it, as sentences
statements what is known of the whole log, in SQL, and the events by user
writing    the task that makes examples of a partition's users (users.coded), and writes them
run        all of it
"""
