"""Sockets, message queues, semaphores and shared memory identifiers."""

from __future__ import annotations

from jitemu.user.syscalls.table import passes

passes("""
mq_open 180 240 path oflags mode ptr
mq_unlink 181 241 path
mq_timedsend 182 242 fd ptr size uint ptr
mq_timedreceive 183 243 fd ptr size ptr ptr
mq_notify 184 244 fd ptr
mq_getsetattr 185 245 fd ptr ptr
msgget 186 68 int hex
msgctl 187 71 int int ptr
msgrcv 188 70 int ptr size int hex
msgsnd 189 69 int ptr size hex
semget 190 64 int int hex
semtimedop 192 220 int ptr size ptr
semop 193 65 int ptr size
shmget 194 29 int size hex
shmctl 195 31 int int ptr
socket 198 41 int hex int
socketpair 199 53 int hex int ptr
bind 200 49 fd ptr int
listen 201 50 fd int
accept 202 43 fd ptr ptr
connect 203 42 fd ptr int
getsockname 204 51 fd ptr ptr
getpeername 205 52 fd ptr ptr
sendto 206 44 fd ptr size hex ptr int
recvfrom 207 45 fd ptr size hex ptr ptr
setsockopt 208 54 fd int int ptr int
getsockopt 209 55 fd int int ptr ptr
shutdown 210 48 fd int
sendmsg 211 46 fd ptr hex
recvmsg 212 47 fd ptr hex
accept4 242 288 fd ptr ptr hex
recvmmsg 243 299 fd ptr int hex ptr
sendmmsg 269 307 fd ptr int hex
""")
