"""How the processes of a run on one machine find one another, and that none of them outlives another that failed.

torchrun and SLURM start processes and end them by themselves; all this is for those that Lightning starts.
"""

from __future__ import annotations

import logging
import os
import signal
import socket

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from bassl.errors import InputError, Preempted
from bassl.training.processes import end_with_starter

log = logging.getLogger(__name__)


def are_ours() -> bool:
    """Whether Lightning starts the processes, and not torchrun or SLURM."""
    return not (TorchElasticEnvironment.detect() or SLURMEnvironment.detect())


def settle_port(num_processes: int, num_nodes: int) -> None:
    """Meet elsewhere where the port that MASTER_PORT names is in use; unset, Lightning picks a free one.

    Raises InputError on the first of several machines, which all have to be told of another.
    """
    if "MASTER_PORT" not in os.environ or num_processes * num_nodes == 1 or not are_ours():
        return
    if os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("NODE_RANK", "0") != "0":
        return  # these are told by the process that listens
    port = os.environ["MASTER_PORT"]
    if is_free(int(port)):
        return
    if num_nodes > 1:
        raise InputError(f"MASTER_PORT={port} is in use on this machine; set another one, the same on all machines")
    del os.environ["MASTER_PORT"]
    log.warning("MASTER_PORT=%s is in use; taking another", port)


def is_free(port: int) -> bool:
    """Whether this process could listen on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch does: of an ended run it is free
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True


class EndTogether(Callback):
    """Ends the processes of a run when one of them fails, also where they wait for it on a device.

    The process that started the others kills them after an error of its own; Lightning does so when one of them ends
    with an error. The others end when the one that started them has gone, however it ended.
    """

    _watches = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin to look after the process that started this one."""
        if not self._watches and are_ours() and os.environ.get("LOCAL_RANK", "0") != "0":
            self._watches = True
            end_with_starter()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Kill the others, unless they are about to end as well."""
        launcher = trainer.strategy.launcher
        if launcher is not None and not isinstance(exception, Preempted):
            launcher.kill(signal.SIGKILL)
