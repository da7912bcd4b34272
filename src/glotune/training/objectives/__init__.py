"""What pretraining learns from: masked tokens, and translations that should stand close."""
