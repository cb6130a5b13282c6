"""From a byte budget and a graph to a plan: what trains, and where each byte lies."""
