"""Sockets, message queues, semaphores and shared memory identifiers."""

from __future__ import annotations

from jitemu.user.syscalls.table import passes

passes("""
mq_open 180 274 240 path oflags mode in:mq_attr
mq_unlink 181 275 241 path
mq_timedsend 182 276 242 fd ptr size uint in:timespec
mq_timedreceive 183 277 243 fd ptr size ptr in:timespec
mq_notify 184 278 244 fd in:sigevent
mq_getsetattr 185 279 245 fd in:mq_attr out:mq_attr
msgget 186 303 68 int hex
msgctl 187 - 71 int int ptr
msgrcv 188 - 70 int ptr size int hex
msgsnd 189 - 69 int ptr size hex
semget 190 299 64 int int hex
semtimedop 192 312 220 int ptr size in:timespec
semop 193 298 65 int ptr size
shmget 194 307 29 int size hex
shmctl 195 - 31 int int ptr
socket 198 281 41 int hex int
socketpair 199 288 53 int hex int ptr
bind 200 282 49 fd ptr int
listen 201 284 50 fd int
accept 202 285 43 fd ptr ptr
connect 203 283 42 fd ptr int
getsockname 204 286 51 fd ptr ptr
getpeername 205 287 52 fd ptr ptr
sendto 206 290 44 fd ptr size hex ptr int
recvfrom 207 292 45 fd ptr size hex ptr ptr
setsockopt 208 - 54 fd int int ptr int
getsockopt 209 - 55 fd int int ptr ptr
shutdown 210 293 48 fd int
sendmsg 211 - 46 fd ptr hex
recvmsg 212 - 47 fd ptr hex
accept4 242 366 288 fd ptr ptr hex
recvmmsg 243 - 299 fd ptr int hex ptr
sendmmsg 269 - 307 fd ptr int hex
""")
