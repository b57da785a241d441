"""What every training run needs: devices, run directory, checkpoints, loop, logs, pictures."""
