"""report.html and `serve`: a study as one page. table.py and details.py say what it shows, page.html, page.css and page.js how.

uPlot draws the charts (github.com/leeoniya/uPlot, version 1.6.32, MIT: uPlot.LICENSE); its two files are as npm has them.
"""
