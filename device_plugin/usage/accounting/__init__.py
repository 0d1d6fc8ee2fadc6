"""Works out, purely, which container uses how much memory, what is used outside of pods, and who uses too much."""
