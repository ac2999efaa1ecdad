"""BaSSL: boundary-aware self-supervised learning for video scene segmentation.

Reading order: `pretrain/losses.py` and `pretrain/alignment.py` (the method), `pretrain/objective.py` (which terms a
method sums), `pretrain/module.py` and `pretrain/train.py` (a run), `dataset/movienet.py` (a sample), `model/` (encoder,
CRN, heads), `finetune/` (from features to scores), `config/schema.py` (every key). `segment/` and `prepare/` start from
films, which `video/` and `labels/` read; `drawing/` and `diagnostics/` make pictures, `procedural/` makes films,
`download/` fetches MovieNet, `sweep/` runs tables of experiments. The modules beside this one serve all runs:
`entry.py` (a command line), `builders.py` (models from plans and checkpoints), `runtime.py` (device, trainer),
`launching.py` and `distributed.py` (processes), `records.py`, `checkpointing.py`, `earlier.py` (what is written down
and kept), `preemption.py`, `finite.py` and `endings.py` (what ends a run).

Imports run one way: entry points -> runs -> modules -> losses, model, dataset; below the runs nothing sees the
configuration.
"""

__version__ = "0.1.0"
