"""BaSSL: boundary-aware self-supervised learning for video scene segmentation.

Reading order: `pretrain/losses.py` and `pretrain/alignment.py` (the method), `pretrain/objective.py` (the terms that a
method sums), `pretrain/module.py` and `pretrain/train.py` (a run), `dataset/movienet.py` (a sample), `model/` (encoder,
CRN, heads, scene posterior), `finetune/` (from features to scores), `config/*.yaml` (every key with its meaning).

`segment/` and `prepare/` start from films, which `video/` and `labels/` read. `plots/` and `diagnostics/` draw
pictures, `procedural/` draws films, `download/` fetches MovieNet, `sweep/` runs tables of experiments. All runs share
`training/` (device, trainer, checkpoints, run folders). The modules beside this one serve everything: `cli.py` (the
`bassl` command), `console.py` (logging, exit codes), `errors.py`, `files.py` (atomic writes, locks), `distributed.py`
(ranks).

Imports run one way: entry points, runs, modules, then losses, model and dataset. Below the runs nothing reads the
configuration.
"""

__version__ = "0.1.0"
