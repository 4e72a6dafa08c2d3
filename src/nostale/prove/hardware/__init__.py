"""The hardware that models import: each behaviour with its source, and with what is not modelled."""
