"""How numerics run: compiled once, on several threads, on several replicas."""
