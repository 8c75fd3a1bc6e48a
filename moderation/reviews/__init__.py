"""Cases for people: the queue, decisions, appeals, and the safety of those who look."""
