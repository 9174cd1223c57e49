"""What is in data before anything is trained on it."""

from specc.survey.findings import Finding, findings
from specc.survey.report import Survey, as_json, as_page, as_text
from specc.survey.survey import Part, learnt_labels, look, parts_of, told_of_labels, told_of_recipe

__all__ = [
    "Finding",
    "Part",
    "Survey",
    "as_json",
    "as_page",
    "as_text",
    "findings",
    "learnt_labels",
    "look",
    "parts_of",
    "told_of_labels",
    "told_of_recipe",
]
