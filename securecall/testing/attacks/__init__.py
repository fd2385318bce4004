"""The attacks: each against an unprotected pair, where it must succeed, and against us."""
