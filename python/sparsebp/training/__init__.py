"""Plans at work in torch: converting a model, the converted model, autograd, and what it all holds in memory."""
