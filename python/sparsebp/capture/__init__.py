"""From a torch model to the graph of its ops: tracing it, reading what each op is, and fusing them."""
