"""What every training run shares: device, Trainer, checkpoints, preemption, run folders, optimisers."""
