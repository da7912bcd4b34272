"""Training and the forward pass: loop, step, plan, checkpoints, processes. Tasks by their protocol."""
