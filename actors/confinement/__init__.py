"""What a process gives up before it reads a file that may be hostile: the kernel's own locks."""
