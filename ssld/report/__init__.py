"""This package writes what a run says when it is over: page, closing table, ledger of measured results.

It reads files and runs no network.
"""

from ssld.report.headline import closing_table
from ssld.report.overview import write_figures
from ssld.report.run_page import write_report
from ssld.report.speed_page import write_speed

__all__ = ["closing_table", "write_figures", "write_report", "write_speed"]
