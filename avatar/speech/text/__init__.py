"""Text to speech: voices, words and phones with their times, transcripts."""
