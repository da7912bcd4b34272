"""Trackers as readers: TensorBoard, W&B, Trackio and MLflow are told what the run directory holds."""
