"""What a run says when it is over: page, closing table, ledger of measured results. Reads files, runs no network."""

from ssld.report.headline import closing_table
from ssld.report.page import write_report

__all__ = ["closing_table", "write_report"]
