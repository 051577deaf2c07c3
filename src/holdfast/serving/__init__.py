"""A request becomes an answer and a prediction record; this is the data plane, and it knows no HTTP."""
