"""How fast the package is, against the reference's way of doing the same work. `python3 -m benchmarks.main` runs it.

Reading order: `main` (command line), `measure` (what is timed and how), `material` (the data that is made for it), then
one file a subject: `samples`, `extraction`, `feeding`, `finetune_epoch`, `finetune_entry`, `alignment`, `validation`,
`memory`, `pretrain_step`, `profile_step` (what limits it), `cold_start`. `pictures_one_by_one`,
`relation_network_in_full`, `warping` and `film_by_film_in_loops` hold the reference's way, written down from its
description. `cost` predicts the hours of a run; `cost_check` measures
what it needs and how far off it is.
"""
