"""Take in, avatar out: losses, fitting, evaluation."""
