"""From the command line to a checked configuration: `load` composes it, `resolve` derives the plan of the job, with
`compute` its processes, batches and length.

Nothing below the entry points sees the configuration tree; nothing in here imports torch, so that a typo is answered
at once.
"""

from bassl.config.load import load

__all__ = ["load"]
