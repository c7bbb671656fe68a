"""Clocks and timers."""

from __future__ import annotations

from jitemu.user.syscalls.table import passes

passes("""
timerfd_create 85 350 283 clock fdflags
timerfd_settime 86 353 286 fd hex in:itimerspec out:itimerspec
timerfd_gettime 87 354 287 fd out:itimerspec
nanosleep 101 162 35 in:timespec out:timespec
getitimer 102 105 36 int out:itimerval
setitimer 103 104 38 int in:itimerval out:itimerval
timer_create 107 257 222 clock in:sigevent ptr
timer_gettime 108 259 224 int out:itimerspec
timer_getoverrun 109 260 225 int
timer_settime 110 258 223 int hex in:itimerspec out:itimerspec
timer_delete 111 261 226 int
clock_settime 112 262 227 clock in:timespec
clock_gettime 113 263 228 clock out:timespec
clock_getres 114 264 229 clock out:timespec
clock_nanosleep 115 265 230 clock hex in:timespec out:timespec
times 153 43 100 out:tms
gettimeofday 169 78 96 out:timeval ptr
settimeofday 170 79 164 in:timeval ptr
adjtimex 171 124 159 io:timex
clock_adjtime 266 372 305 clock io:timex
""")
