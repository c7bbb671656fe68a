/* System calls that wait, among signals and threads: what is printed does not depend on timing. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int handled;
static int acknowledged = -1;

static void on_signal(int number)
{
    handled++;
    if (acknowledged >= 0)
        write(acknowledged, "a", 1);
}

static void handle(int number, int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    sigaction(number, &action, 0);
}

static void every(long microseconds)
{
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &timer, 0);
    struct timespec left = {0, 50000000};
    while (!microseconds && nanosleep(&left, &left))
        ; /* the last one may be on its way, and the one before it ends a wait */
}

/* A child that sends a signal, waits until it was handled, and so on; then it does `last`. */
static pid_t sender(int count, void (*last)(void *), void *argument)
{
    int pair[2];
    pipe(pair);
    acknowledged = pair[1];
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        char byte;
        for (int i = 0; i < count; i++) {
            usleep(2000);
            kill(parent, SIGUSR1);
            read(pair[0], &byte, 1);
        }
        usleep(2000);
        if (last)
            last(argument);
        _exit(0);
    }
    close(pair[0]);
    return child;
}

static void finish(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) == -1 && errno == EINTR)
        ;
    close(acknowledged);
    acknowledged = -1;
    printf("handled %d\n", handled);
    handled = 0;
}

static void write_byte(void *fd) { write((int)(long)fd, "x", 1); }

static void drain(void *fd)
{
    char data[65536];
    for (int got = 0; got < 200000;)
        got += read((int)(long)fd, data, sizeof data);
}

static int word;

static int futex(int *at, int operation, int value, struct timespec *timeout)
{
    return syscall(SYS_futex, at, operation, value, timeout, 0, 0);
}

static void wake(void *shared)
{
    *(int *)shared = 1;
    futex(shared, FUTEX_WAKE, 100, 0);
}

static void reads(int flags)
{
    int pair[2], failed = 0;
    char byte = 0;
    pipe(pair);
    handle(SIGUSR1, flags);
    pid_t child = sender(50, write_byte, (void *)(long)pair[1]);
    while (read(pair[0], &byte, 1) == -1 && errno == EINTR)
        failed++;
    printf("read %c interrupted %d\n", byte, flags ? failed : failed > 10 && failed <= 50);
    finish(child);
    close(pair[0]), close(pair[1]);
}

static void writes(int flags)
{
    static char data[200000];
    int pair[2], failed = 0, sent = 0;
    pipe(pair);
    handle(SIGUSR1, flags);
    pid_t child = sender(20, drain, (void *)(long)pair[0]);
    while (sent < sizeof data) {
        ssize_t n = write(pair[1], data + sent, sizeof data - sent);
        if (n < 0 && errno == EINTR)
            failed++;
        else if (n > 0)
            sent += n;
        else
            break;
    }
    printf("wrote %d interrupted %d\n", sent, flags ? failed : failed > 3 && failed <= 20);
    finish(child);
    close(pair[0]), close(pair[1]);
}

static void sleeps(int flags)
{
    struct timespec left = {0, 100000000};
    int failed = 0;
    handle(SIGUSR1, flags);
    pid_t child = sender(20, 0, 0);
    while (nanosleep(&left, &left) == -1 && errno == EINTR)
        failed++;
    printf("slept %d\n", failed > 4 && failed <= 20);
    finish(child);
}

static void futexes(int flags)
{
    int failed = 0;
    int *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    handle(SIGUSR1, flags);
    pid_t child = sender(50, wake, shared);
    while (!*shared)
        if (futex(shared, FUTEX_WAIT, 0, 0) == -1 && errno == EINTR)
            failed++;
    printf("futex %d interrupted %d\n", *shared, flags ? failed : failed > 10 && failed <= 50);
    finish(child);
}

/* A storm of signals against short calls: nothing is lost, done twice or seen half done. */
static void storm(int flags)
{
    int there[2], sum = 0, count = 0;
    pipe(there);
    handle(SIGALRM, flags);
    pid_t child = fork();
    if (child == 0) {
        every(500);
        for (int i = 0; i < 20000; i++) {
            unsigned char byte = i * 7;
            while (write(there[1], &byte, 1) == -1 && errno == EINTR)
                ;
        }
        _exit(handled > 0 ? 0 : 1);
    }
    close(there[1]);
    every(700);
    for (;;) {
        unsigned char byte;
        ssize_t n = read(there[0], &byte, 1);
        if (n == 1)
            sum = sum * 31 + byte, count++;
        else if (n == 0 || errno != EINTR)
            break;
    }
    every(0);
    int status = -1;
    while (waitpid(child, &status, 0) == -1 && errno == EINTR)
        ;
    printf("storm %d %x child %x handled %d\n", count, sum, status, handled > 0);
    handled = 0;
    close(there[0]);
}

static void masks(void)
{
    sigset_t set, old, now;
    int counts[2] = {0, 0};
    handle(SIGALRM, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    every(300);
    for (int i = 0; i < 20000; i++) {
        sigprocmask(SIG_BLOCK, &set, &old);
        int before = handled;
        sigprocmask(SIG_BLOCK, 0, &now);
        if (i % 50 == 0)
            usleep(400);
        counts[0] += handled != before;
        counts[1] += sigismember(&now, SIGALRM) && !sigismember(&old, SIGALRM);
        sigprocmask(SIG_SETMASK, &old, 0);
    }
    every(0);
    printf("masks %d %d handled %d\n", counts[0], counts[1], handled > 100);
    handled = 0;
    sigprocmask(SIG_BLOCK, &set, 0);
    kill(getpid(), SIGALRM);
    printf("blocked %d", handled);
    sigprocmask(SIG_UNBLOCK, &set, &old);
    printf(" unblocked %d\n", handled);
    sigprocmask(SIG_SETMASK, 0, &now);
    printf("old %d now %d\n", sigismember(&old, SIGALRM), sigismember(&now, SIGALRM));
    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, 0);
    sigprocmask(SIG_SETMASK, &old, &now);
    printf("never %d %d\n", sigismember(&now, SIGKILL), sigismember(&now, SIGSTOP));
    sigprocmask(SIG_UNBLOCK, &old, 0);
    errno = 0;
    int result = syscall(SYS_rt_sigprocmask, SIG_BLOCK, 16, 0, 8);
    printf("bad %d %d", result, errno);
    result = syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, 16, 8);
    printf(" %d %d", result, errno);
    result = syscall(SYS_rt_sigprocmask, 3, &set, 0, 8);
    printf(" %d %d", result, errno);
    result = syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, 0, 16);
    printf(" %d %d\n", result, errno);
    handled = 0;
}

/* Translated code is dropped while threads wait. */
static int release[2];

static void *waiter(void *total)
{
    char byte;
    for (int i = 0; i < 100; i++)
        if (read(release[0], &byte, 1) == 1)
            __atomic_add_fetch((long *)total, i, __ATOMIC_SEQ_CST);
    futex(&word, FUTEX_WAIT, 0, 0);
    return 0;
}

/* Signals to a thread that waits, and to one that keeps them back. */
static volatile int entered, interrupted;

static void *reader(void *fd)
{
    char byte;
    for (;;) {
        entered++;
        ssize_t n = read((int)(long)fd, &byte, 1);
        if (n >= 0)
            break;
        if (errno == EINTR)
            interrupted++;
    }
    pause();
    return 0;
}

static void *keeper(void *unused)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    while (handled < 300) {
        pthread_sigmask(SIG_BLOCK, &set, 0);
        int before = handled;
        getppid();
        if (handled != before)
            interrupted = -1;
        pthread_sigmask(SIG_UNBLOCK, &set, 0);
    }
    return 0;
}

static void kills(void)
{
    pthread_t thread;
    int pair[2];
    void *result;
    pipe(pair);
    handle(SIGUSR1, 0);
    pthread_create(&thread, 0, reader, (void *)(long)pair[0]);
    for (int i = 0; i < 50; i++) {
        while (entered <= i)
            usleep(100);
        usleep(i % 5 * 300);
        int before = interrupted;
        pthread_kill(thread, SIGUSR1);
        for (int n = 0; interrupted == before && n < 10000; n++) {
            usleep(1000);
            if (n % 100 == 99) /* it came between two calls */
                pthread_kill(thread, SIGUSR1);
        }
    }
    printf("kills %d handled %d", interrupted, handled >= 50);
    write(pair[1], "x", 1);
    usleep(1000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    printf(" cancelled %d\n", result == PTHREAD_CANCELED);
    entered = interrupted = handled = 0;
    pthread_create(&thread, 0, keeper, 0);
    for (int i = 0; i < 300; i++) {
        pthread_kill(thread, SIGUSR1);
        while (handled <= i)
            usleep(50);
    }
    pthread_join(thread, 0);
    printf("keeper %d handled %d\n", interrupted, handled);
    entered = interrupted = handled = 0;
}

typedef int function(void);

static uint32_t *new_code(void)
{
    return mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

#ifdef __riscv
#define RETURN 0x8067
static uint32_t load_number(int n) { return (uint32_t)n << 20 | 10 << 7 | 0x13; }
#else /* ARM: movw r0, #n; bx lr */
#define RETURN 0xe12fff1e
static uint32_t load_number(int n) { return 0xe3000000 | n; }
#endif

static void on_fault(int number) { _exit(9); }

static void flushes(void)
{
    pthread_t threads[4];
    long total = 0, sum = 0;
    pipe(release);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], 0, waiter, &total);
    usleep(20000);
    struct sigaction action = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &action, 0);
    uint32_t *code = new_code();
    for (int i = 0; i < 400; i++) {
        code[0] = load_number(i);
        code[1] = RETURN;
        __builtin___clear_cache((char *)code, (char *)(code + 2));
        sum += ((function *)code)();
        write(release[1], "x", 1);
    }
    while (__atomic_load_n(&total, __ATOMIC_SEQ_CST) < 4 * 4950)
        usleep(1000);
    word = 1;
    futex(&word, FUTEX_WAKE, 100, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], 0);
    printf("flushes %ld %ld\n", total, sum);
}

/* The kernel writes code, to a page with code that runs. */
static void kernel_writes(void)
{
    int pair[2];
    long sum = 0;
    pipe(pair);
    uint32_t *code = new_code();
    code[0] = load_number(1000);
    code[1] = RETURN;
    __builtin___clear_cache((char *)code, (char *)(code + 2));
    for (int i = 0; i < 200; i++) {
        uint32_t next = load_number(i), back = 0;
        sum += ((function *)code)();
        write(pair[1], &next, 4);
        if (read(pair[0], code, 4) != 4)
            printf("not read: %d\n", errno);
        if (i % 3) {
            sum += ((function *)code)();
            sigset_t *in_code = (sigset_t *)(code + 16);
            if (sigprocmask(SIG_BLOCK, 0, in_code))
                printf("no mask: %d\n", errno);
        }
        __builtin___clear_cache((char *)code, (char *)(code + 2));
    }
    printf("kernel writes %ld\n", sum);
    printf("to text %d", (int)read(pair[0], 0, 0));
    write(pair[1], "no", 2);
    printf(" %d", (int)read(pair[0], (void *)kernel_writes, 1));
    printf(" %d\n", errno);
}

static void errors(void)
{
    int pair[2];
    pipe(pair);
    close(pair[0]);
    handle(SIGPIPE, 0);
    int result = write(pair[1], "x", 1);
    printf("pipe %d %d handled %d\n", result, errno, handled);
    handled = 0;
    printf("bad number %d %d", (int)syscall(511), errno);
    printf(" %d %d", (int)syscall(512), errno);
    printf(" %d %d\n", (int)syscall(-1L), errno);
    printf("bad fd %d %d\n", (int)read(-1, &result, 1), errno);
    printf("bad pointer %d %d\n", (int)write(1, (void *)-4096, 8), errno);
}

int main(void)
{
    setvbuf(stdout, 0, _IOLBF, 0);
    for (int i = 0; i < 2; i++) {
        int flags = i ? SA_RESTART : 0;
        reads(flags);
        writes(flags);
        sleeps(flags);
        futexes(flags);
        storm(flags);
    }
    masks();
    errors();
    kernel_writes();
    kills();
    flushes();
    return 0;
}
