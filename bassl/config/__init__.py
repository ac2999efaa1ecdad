"""From YAML files and a command line to one typed, checked object per job.

`pretrain.yaml`, `extract.yaml` and `finetune.yaml` show every key, its value and its meaning; `method/`, `preset/` and
`experiment/` hold differences. `schema.py` has types and ranges, `checks.py` the rules between keys. Values that follow
from others are functions: `methods.py` (losses), `batches.py` (batch sizes, learning rate), `paths.py` (folders).
Nothing in here imports torch, so that a misspelt key is reported at once.
"""
