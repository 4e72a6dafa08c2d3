"""The five systems: what each holds, models, rules and monitors of its own; they never import each other."""
