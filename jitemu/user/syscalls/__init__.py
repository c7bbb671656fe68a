"""Linux system calls: rows by topic, one row for the call and its ``-strace`` line."""
