"""Diagnostics: what is wrong (data), and how it is shown."""

from specc.report.diagnostic import Diagnostic, Fix, Label, Report, Severity

__all__ = ["Diagnostic", "Fix", "Label", "Report", "Severity"]
