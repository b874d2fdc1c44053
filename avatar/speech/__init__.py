"""Speech features, speech to motion, blinks and head pose."""
