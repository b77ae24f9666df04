"""From audio files to padded batches of features."""
