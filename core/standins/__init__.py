"""Rehearsal: one stand-in per tool. A stand-in needs only a bare python3 and says that it is one."""
