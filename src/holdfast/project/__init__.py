"""The one definition a user writes, compiled into a plan of fingerprinted nodes."""
