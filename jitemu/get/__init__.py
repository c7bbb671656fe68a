"""``jitemu get``: real guests, made out of Debian's packages by the machine's own apt."""
