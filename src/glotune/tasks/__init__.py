"""What is learned from a text: targets, losses, scores. The loop knows none of them by name."""
