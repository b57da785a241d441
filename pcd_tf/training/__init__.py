"""What every training run needs: devices, a run directory, checkpoints, the loop, logs, pictures."""
