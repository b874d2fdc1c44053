"""Developer commands that build what the speech models share."""
