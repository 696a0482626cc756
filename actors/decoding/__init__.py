"""From a file to frames and sound, in a child process with limits."""
