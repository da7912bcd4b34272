"""Publishing a run on the Hugging Face Hub: the card that describes it, and the files that go."""
