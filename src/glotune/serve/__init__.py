"""One classifier behind HTTP, on this machine: text-embeddings-inference's ``/predict``, batched as requests come."""
