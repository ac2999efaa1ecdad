"""Speed of the package beside the reference's way of doing the same work; `python3 -m benchmarks.main` runs it.

Reading order: `main` (command line), `measure` (settings, rows, timing), `table` (Markdown), `data` (what is measured
on), then one module per benchmark, each with a function `run`. The modules `reference_*` hold the reference's way,
written from its description. `cost` predicts the hours of a run; `cost_check` measures its inputs and its error.
"""
