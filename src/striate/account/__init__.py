"""What a network costs: summaries now; neurons, parameters, operations and memory of any module."""
