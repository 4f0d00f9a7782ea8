"""Report: one view of a study, as text, CSV, JSON, HTML and plots."""
