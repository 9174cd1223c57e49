"""Many trainings over a spec's own domains: what to try (`domains`), trying it (`trials`), and what was found
(`found`, `page`)."""
