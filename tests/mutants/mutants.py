"""Sixty hand-made faults: what each one breaks, where, and the tests that should notice.

`file` is below `bassl/`, `tests` are below `tests/`: the nearest first, then what runs the code as a user does. Entries
that start with "seam:" break what one stage hands to the next, such as an argument of the Trainer.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A fault: `old` stands exactly once in `file` and becomes `new`."""

    name: str
    file: str
    tests: str
    about: str
    old: str
    new: str

    @property
    def room(self) -> str:
        """Return the folder or the loose module of `bassl/` that the fault is in."""
        return self.file.split("/")[0].removesuffix(".py")

    @property
    def paths(self) -> list[str]:
        """Return its test files, or single tests, in the order to run them."""
        return [f"tests/{name}" for name in self.tests.split()]


M = Mutant
# fmt: off
MUTANTS = (
    # --- losses and alignment
    M("ssm-boundary-shot", "pretrain/losses.py", "pretrain/test_losses.py",
      "SSM: the boundary shot counts to the right scene instead of the left",
      "device=dense.device) <= boundary[:, None]", "device=dense.device) < boundary[:, None]"),
    M("simclr-self-negative", "pretrain/losses.py", "pretrain/test_losses.py",
      "NT-Xent: an embedding is its own negative",
      'logits.masked_fill(anchors == anchors[:, None], float("-inf"))', "logits"),
    M("shotcol-self-neighbour", "pretrain/losses.py", "pretrain/test_losses.py",
      "ShotCoL: the centre shot may be its own nearest neighbour",
      'similarity.masked_fill(is_center, float("-inf")).argmax(1)', "similarity.argmax(1)"),
    M("cgm-own-partner", "pretrain/losses.py", "pretrain/test_losses.py",
      "CGM: the centre shot may be drawn as its own partner",
      "own_side & (positions != center)", "own_side"),
    M("pp-boundary-negative", "pretrain/losses.py", "pretrain/test_losses.py",
      "PP: the pseudo-boundary may be drawn as a negative",
      "chance.scatter(1, boundary[:, None], -1.0)", "chance"),
    M("msm-target-gradient", "pretrain/losses.py", "pretrain/test_losses.py",
      "MSM: a gradient flows into the targets",
      "_at_least_float32(target.detach())", "_at_least_float32(target)"),
    M("alignment-ties", "pretrain/alignment.py", "pretrain/test_alignment.py",
      "pseudo-boundary: of equally good paths the first is taken, not the last",
      "totals.shape[1] - 1 - totals.flip(1).argmin(dim=1)", "totals.argmin(dim=1)"),
    M("ddp-msm-weight", "pretrain/objective.py", "pretrain/test_objective.py training/test_processes.py",
      "MSM over ranks: each rank's mean counts alike, however many shots it masked",
      "return loss * (num_masked * world_size() / sum_over_ranks(num_masked))", "return loss"),
    M("temperature-default", "pretrain/train.py", "pretrain/test_module.py test_pipeline.py",
      "seam: the configured temperature does not reach the objective",
      "temperature=method.temperature", "temperature=0.1"),
    # --- windows, samplers, data sets
    M("window-at-end", "dataset/window.py", "dataset/test_window.py",
      "pre-training window: sticks out by one shot at the film's end and repeats the last",
      "max(slack, 0))", "max(slack + 1, 0))"),
    M("ddp-sampler-padding", "dataset/sampler.py", "dataset/test_sampler.py training/test_processes.py",
      "evaluation over ranks: an item at the border of two ranks is scored by both",
      "num_items * (rank + 1) // world_size)", "-(-num_items * (rank + 1) // world_size))"),
    M("masking-default", "pretrain/train.py", "pretrain/test_train.py",
      "seam: masked_shot_modeling.masking_prob does not reach the data set",
      "masking_probability=config.LOSS.masked_shot_modeling.masking_prob", "masking_probability=0.15"),
    M("augmentation-default", "pretrain/train.py", "pretrain/test_train.py",
      "seam: of TRANSFORM.train only the size reaches the data set",
      "settings=augmentation_settings(config)", "settings=AugmentationSettings(size=config.TRANSFORM.size)"),
    # --- augmentation
    M("crop-right-edge", "dataset/augmentation.py", "dataset/test_augmentation.py",
      "random crop: never reaches the last column",
      "rng.integers(width - box_width + 1)", "rng.integers(max(1, width - box_width))"),
    M("jitter-order", "dataset/device_augmentation.py", "dataset/test_device_augmentation.py",
      "colour jitter on the device: always the same order of operations",
      "in params.order[rows[0]].tolist():", "in range(4):"),
    M("blur-edge", "dataset/device_augmentation.py", "dataset/test_device_augmentation.py",
      "blur: the edge pixel is repeated instead of mirrored", 'mode="reflect"', 'mode="replicate"'),
    # --- optimisation
    M("lars-denominator", "training/optim.py", "training/test_optim.py",
      "LARS: weight decay is missing in the denominator of the trust ratio",
      "(gradient_norms + weight_decay * weight_norms + eps)", "(gradient_norms + eps)"),
    M("schedule-warmup", "training/optim.py", "training/test_optim.py",
      "schedule: the first step has a learning rate above 0",
      "return step / warmup_steps", "return (step + 1) / warmup_steps"),
    M("trainer-clip", "training/trainer.py", "training/test_trainer.py",
      "seam: gradient_clip_val is not passed to the Trainer",
      "else loop.gradient_clip_val", "else None"),
    M("trainer-accumulate", "training/trainer.py", "training/test_trainer.py",
      "seam: accumulate_grad_batches is not passed to the Trainer",
      "accumulate_grad_batches=accumulate", "accumulate_grad_batches=1"),
    M("trainer-max-steps", "training/trainer.py", "training/test_trainer.py",
      "seam: max_steps is not passed to the Trainer",
      "max_steps=-1 if evaluates or loop.max_steps is None else loop.max_steps", "max_steps=-1"),
    M("trainer-precision", "training/trainer.py", "training/test_trainer.py",
      "seam: the precision is not passed to the Trainer",
      "precision=device.lightning_precision", 'precision="32-true"'),
    M("trainer-val-freq", "training/trainer.py", "training/test_trainer.py",
      "seam: TEST.VAL_FREQ is not passed to the Trainer",
      "=1 if run.dry_run or evaluates else config.TEST.VAL_FREQ", "=1"),
    M("trainer-limit-val", "training/trainer.py", "training/test_trainer.py",
      "seam: limit_val_batches is not passed to the Trainer",
      "loop.limit_train_batches, loop.limit_val_batches", "loop.limit_train_batches, None"),
    # --- resume
    M("resume-skip", "dataset/datamodule.py", "dataset/test_datamodule.py training/test_resume.py",
      "resume within an epoch: its first batches are read again",
      "sampler.skip_batches(self._position[1])", "sampler.skip_batches(0)"),
    M("resume-folder-best", "training/checkpointing.py", "training/test_checkpointing.py finetune/test_runs.py",
      "seam: RESUME=<folder> takes the best checkpoint instead of the last",
      "path = path / LAST if (path / LAST).is_file() else find_checkpoint(path)", "path = find_checkpoint(path)"),
    M("resume-seed", "training/trainer.py", "training/test_trainer.py training/test_resume.py",
      "seam: a resumed run without SEED draws a new one",
      "return stored if stored is not None else _shared_seed(config)", "return _shared_seed(config)"),
    M("resume-best", "training/checkpointing.py", "training/test_checkpointing.py finetune/test_runs.py",
      "seam: a resumed run forgets the best val/AP so far and may replace a better best.ckpt",
      'self.best = state_dict["best"]', 'self.best = float("-inf")'),
    # --- several processes
    M("ddp-gather-gradient", "distributed.py", "test_distributed.py",
      "gather: the gradient of other ranks' losses is lost",
      "dist.all_reduce(summed)\n        num_rows", "num_rows"),
    M("ddp-class-counts", "finetune/module.py", "finetune/test_module.py training/test_processes.py",
      "seam: classes are balanced by the labels of the own rank",
      "sum_over_ranks(class_counts(labels))", "class_counts(labels)"),
    M("ddp-dropout-seed", "pretrain/module.py", "pretrain/test_module.py",
      "seam: all ranks draw the same dropout masks", "1 + self.global_rank))", "1))"),
    M("step-seed-epoch", "pretrain/module.py", "pretrain/test_module.py training/test_resume.py",
      "seam: every epoch draws what the first drew",
      "step = (self._seed, self.current_epoch, batch_idx)", "step = (self._seed, 0, batch_idx)"),
    M("ddp-sync-bn", "pretrain/train.py", "training/test_processes.py",
      "seam: use_sync_bn has no effect", "if config.MODEL.use_sync_bn and num_processes(config) > 1:", "if False:"),
    # --- extraction
    M("store-transform", "pretrain/extract.py", "pretrain/test_runs.py",
      "seam: a feature store may mix two test transforms",
      '"transform": {"resize": config.TRANSFORM.test.resize, "crop": config.TRANSFORM.test.crop},',
      '"transform": None,'),
    M("extract-again", "pretrain/extract.py", "pretrain/test_runs.py",
      "seam: on going on, the last film that is done is extracted again",
      "if film not in stored]", "if film not in sorted(stored)[:-1]]"),
    M("keyframe-mean", "model/shot_encoder.py", "model/test_shot_encoder.py",
      "a shot's feature is that of its middle key-frame", "k=keyframes.shape[1]).mean(dim=1)",
      "k=keyframes.shape[1])[:, 1]"),
    # --- fine-tuning and evaluation
    M("class-weights", "finetune/losses.py", "finetune/test_losses.py",
      "fine-tuning: both classes weigh by the number of boundaries",
      "(0.5 / (counts + EPSILON))[labels]", "(0.5 / (counts + EPSILON))[torch.ones_like(labels)]"),
    M("metric-ap", "finetune/metrics.py", "finetune/test_metrics.py",
      "AP: the first step of recall is left out", "prepend=0.0", "prepend=curve.recall[0]"),
    M("metric-recall-3s", "finetune/scenes.py", "finetune/test_scenes.py finetune/test_metrics.py",
      "Recall@3s: distance between first frames instead of last frames",
      "_frames(frames, num_shots)[:, 1]", "_frames(frames, num_shots)[:, 0]"),
    M("metric-f1-threshold", "finetune/metrics.py", "finetune/test_metrics.py",
      "F1 threshold: one step below the best",
      "threshold[np.argmax(f1)]", "threshold[min(np.argmax(f1) + 1, len(f1) - 1)]"),
    M("knn-self", "pretrain/knn.py", "pretrain/test_knn.py",
      "k-NN: a shot is its own neighbour", "fill_diagonal_(-torch.inf)", "fill_diagonal_(torch.inf)"),
    M("similarity-mean", "finetune/scorer.py", "finetune/test_runs.py",
      "seam: the similarity head never gets the mean of the training films",
      "similarity.mean.copy_(", "similarity.mean.clone().copy_("),
    M("metric-fps", "finetune/train.py", "finetune/test_runs.py",
      "seam: TEST.FPS does not reach Recall@3s", "fps=config.TEST.FPS", "fps=24.0"),
    M("best-weights", "finetune/module.py", "finetune/test_runs.py test_pipeline.py",
      "seam: the test split is scored with the last weights instead of the best on val",
      "self.load_state_dict(weights)", "pass"),
    M("stored-transform", "finetune/scorer.py", "finetune/test_runs.py segment/test_model.py",
      "seam: a fine-tuned checkpoint does not say how its key-frames were resized",
      'dict(store.transform) if store and store.transform else asdict(config.TRANSFORM.test)', "None"),
    # --- segment
    M("segment-threshold", "segment/api.py", "segment/test_api.py segment/test_main.py",
      "seam: the threshold that val chose is not used",
      "stored=model.threshold if model.is_calibrated else None", "stored=None"),
    M("segment-cache-model", "segment/api.py", "segment/test_api.py segment/test_main.py",
      "seam: the scores of another model with the same name are taken from the cache",
      "[fingerprint(file) for file in spec.files]", "[]"),
    M("scenes-keyframes", "segment/scenes.py", "segment/test_scenes.py segment/output/test_scenes_json.py",
      "seam: scenes.json has other key-frame numbers than the model has seen",
      "keyframe_numbers(first, end - 1)", "keyframe_numbers(first, end + 3)"),
    M("timecode-drop", "video/timecode.py", "video/test_timecode.py",
      "drop-frame timecode at 59.94: leaves out 2 numbers a minute instead of 4",
      "dropped = count // 15\n    per_minute", "dropped = 2\n    per_minute"),
    M("otio-start", "segment/output/editors.py", "segment/output/test_editors.py",
      "OTIO: the media starts at 0, whatever timecode the film has",
      "first, num_frames = float(segmentation.track.first)", "first, num_frames = 0.0"),
    M("edl-end", "segment/output/editors.py", "segment/output/test_editors.py",
      "EDL: a scene ends where its last shot starts",
      "{scene.end.timecode}", "{scene.shots[-1].start.timecode}"),
    M("chapters-rounding", "segment/output/chapters.py", "segment/output/test_chapters.py",
      "FFmpeg chapters: starts are rounded down", "math.ceil(scene.start.seconds * base)",
      "math.floor(scene.start.seconds * base)"),
    # --- preparing and downloading
    M("prepare-keyframes", "prepare/film.py", "prepare/test_film.py prepare/test_pipeline.py",
      "seam: key-frames are written in the order 2, 1, 0",
      "enumerate(shot.images)", "enumerate(reversed(shot.images))"),
    M("prepare-splits", "prepare/splits.py", "prepare/test_splits.py",
      "val and test may share a film",
      "in combinations(SPLIT_NAMES, 2):", "in list(combinations(SPLIT_NAMES, 2))[:2]:"),
    M("archive-parent", "download/archive.py", "download/test_archive.py",
      "archive: a member may be called ../x", 'or ".." in parts ', ""),
    M("archive-truncated", "download/archive.py", "download/test_archive.py",
      "archive: a member shorter than stated is taken", "written != member.size", "written > member.size"),
    # --- ends and files
    M("status-input", "console.py", "test_console.py test_cli.py",
      "a user's mistake ends with status 1", "return 2", "return 1"),
    M("status-preempted", "errors.py", "training/test_preemption.py",
      "a run that was stopped and saved ends with status 1", "EXIT_STATUS = 75", "EXIT_STATUS = 1"),
    M("fsync-order", "files.py", "test_files.py",
      "seam: a file is renamed before it is on disk",
      "_flush_to_disk(temporary)\n        os.replace(temporary, path)",
      "os.replace(temporary, path)\n        _flush_to_disk(path)"),
    M("fsync-folder", "files.py", "test_files.py",
      "seam: the rename is not flushed to disk", "_flush_to_disk(path.parent)", "pass"),
)
# fmt: on
