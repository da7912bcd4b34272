"""Trackers as readers: TensorBoard, W&B, Trackio and MLflow receive what the run directory holds."""
