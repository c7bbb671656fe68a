"""Clocks and timers."""

from __future__ import annotations

from jitemu.user.syscalls.table import passes

passes("""
timerfd_create 85 283 clock fdflags
timerfd_settime 86 286 fd hex ptr ptr
timerfd_gettime 87 287 fd ptr
nanosleep 101 35 ptr ptr
getitimer 102 36 int ptr
setitimer 103 38 int ptr ptr
timer_create 107 222 clock ptr ptr
timer_gettime 108 224 int ptr
timer_getoverrun 109 225 int
timer_settime 110 223 int hex ptr ptr
timer_delete 111 226 int
clock_settime 112 227 clock ptr
clock_gettime 113 228 clock ptr
clock_getres 114 229 clock ptr
clock_nanosleep 115 230 clock hex ptr ptr
times 153 100 ptr
gettimeofday 169 96 ptr ptr
settimeofday 170 164 ptr ptr
adjtimex 171 159 ptr
clock_adjtime 266 305 clock ptr
""")
