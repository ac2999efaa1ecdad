"""Films drawn from a seed, in MovieNet's layout, with scenes that are known exactly (docs/procedural.md).

Reading order: `difficulty.py` (the one parameter), `layout.py` (places, characters and views of a scene),
`shot_plan.py` (view, camera and length of each shot), `picture.py` (key-frames of a shot), `write.py` (a data set),
`main.py` (the command). `contact_sheet.py` shows a film at a glance; `baselines.py` measures how well colour alone
finds its scenes. Only the baselines need torch.
"""
