"""Pure policies read evidence and say promote, hold, roll back, retrain or alert."""
