"""`bassl sweep`: a table of experiments, rows x seeds, each pre-trained, extracted, scored and fine-tuned.

Hydra's multirun is not used: it sweeps over one job, while a run here is several jobs that hand files on and resume
step by step.

Reading order: `experiment.py` (what is compared), `settings.py` (which step a setting is for), `runs.py` (the commands
of a run), `preflight.py` (whether they can start), `folder.py` (what is done), `execute.py` (doing it), `results.py`,
`table.py`, `picture.py`, `main.py`.
"""
