"""`bassl sweep`: a table of experiments, rows x seeds, each pre-trained, extracted, scored and fine-tuned.

Hydra's multirun is not used: it sweeps over one job, and needs Hydra's own runtime, which Lightning's relaunch
of the script for each process does not get on with; a row here is three jobs that hand files on, and is resumed
step by step.

Reading order: `experiment.py` (what is compared), `settings.py` (whom a setting is for), `runs.py` (the
commands), `feasible.py` (whether they can start), `folder.py` (what is done), `execute.py` (doing it),
`results.py`, `table.py`, `picture.py`, `main.py`.
"""
