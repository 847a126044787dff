"""From networks to operators: parameters, data, loss, and products with second derivatives."""
