"""From answers to phases: tables of cells in, phases and their certainty out."""
