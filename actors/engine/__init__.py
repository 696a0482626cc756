"""The vLLM engine: how a request becomes the model's input, and how it is answered."""
