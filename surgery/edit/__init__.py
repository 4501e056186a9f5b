"""From a recipe's steps to written bytes: plan, execution, audit, and the proof on a twin."""
