"""From what a study leaves behind to tables, figures and pages."""
