"""One run, one self-contained HTML page. Importing this takes a second, for matplotlib: do so when a page is due."""

from striate.report.one_image import Answer, image_page
from striate.report.page import Report
from striate.report.results import Classification, MultiLabel, Regression, assess

__all__ = ["Answer", "Classification", "MultiLabel", "Regression", "Report", "assess", "image_page"]
