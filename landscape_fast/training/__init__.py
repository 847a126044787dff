"""Makes the models that are measured; ignorant of the metrics."""
