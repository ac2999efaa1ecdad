"""Old names of `bassl.console`; removed when nobody imports them."""

from bassl.console import describe_error as told
from bassl.console import format_error as one_line
from bassl.console import is_main_process, process_rank
from bassl.console import run_command as exit_status

__all__ = ["exit_status", "is_main_process", "one_line", "process_rank", "told"]
