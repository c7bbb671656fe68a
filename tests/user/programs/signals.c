/* Signals: handlers, siginfo, masks, restart, alternate stack, faults. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

#ifdef __arm__
#define PC arm_pc
#define FIRST arm_r0
#define FIRST_NAME "r0"
#ifdef __thumb__
#define ILLEGAL ".inst.w 0xf7f0a000"
#else
#define ILLEGAL ".inst 0xe7f000f0"
#endif
#define BREAK "bkpt #0\nnop" /* 4 bytes in T32 */
#else
#define PC __gregs[0]
#define FIRST __gregs[10]
#define FIRST_NAME "a0"
#define ILLEGAL ".word 0xffffffff"
#define BREAK ".option push\n.option norvc\nebreak\n.option pop"
#endif
#include <unistd.h>

static volatile int got, code, value;
static void *volatile address;
static volatile int on_alt;
static char alt[65536];

static void handler(int number, siginfo_t *info, void *context)
{
    char here;
    got = number;
    code = info->si_code;
    value = info->si_value.sival_int;
    address = info->si_addr;
    on_alt = &here >= alt && &here < alt + sizeof alt;
    (void)context;
}

static sigjmp_buf back;
static void jump(int number, siginfo_t *info, void *context)
{
    handler(number, info, context);
    siglongjmp(back, 1);
}

static void skip(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    handler(number, info, context);
    uc->uc_mcontext.PC += 4; /* over the instruction */
    uc->uc_mcontext.FIRST = 77;
}

static void set(int number, void (*function)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_sigaction = function, .sa_flags = SA_SIGINFO | flags};
    sigaction(number, &action, NULL);
}

static void timer(int milliseconds)
{
    struct itimerval when = {.it_value = {0, milliseconds * 1000}};
    setitimer(ITIMER_REAL, &when, NULL);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    set(SIGUSR1, handler, 0);
    double before = 1.5;
    raise(SIGUSR1);
    printf("raise %d %d %.1f\n", got == SIGUSR1, code == SI_TKILL, before);
    got = 0;
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 42});
    printf("sigqueue %d %d\n", got == SIGUSR1, value);

    sigset_t set1, old, pending;
    sigemptyset(&set1);
    sigaddset(&set1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set1, &old);
    got = 0;
    kill(getpid(), SIGUSR1);
    sigpending(&pending);
    printf("blocked %d %d\n", got, sigismember(&pending, SIGUSR1));
    sigprocmask(SIG_SETMASK, &old, NULL);
    printf("unblocked %d\n", got == SIGUSR1);

    sigprocmask(SIG_BLOCK, &set1, &old);
    got = 0;
    kill(getpid(), SIGUSR1);
    siginfo_t info;
    struct timespec second = {1, 0}, moment = {0, 1000000};
    int number = sigtimedwait(&set1, &info, &second);
    printf("sigtimedwait %d %d\n", number == SIGUSR1, got);
    number = sigtimedwait(&set1, &info, &moment);
    printf("sigtimedwait %d %d\n", number, errno == EAGAIN);
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        kill(getppid(), SIGUSR1);
        _exit(5);
    }
    sigemptyset(&set1);
    sigsuspend(&set1);
    printf("sigsuspend %d %d\n", errno == EINTR, got == SIGUSR1);
    int status;
    waitpid(child, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
    sigprocmask(SIG_SETMASK, &old, NULL);

    set(SIGALRM, handler, 0);
    got = 0;
    timer(20);
    while (!got)
        ;
    printf("busy loop %d\n", got == SIGALRM);
    int ends[2];
    char byte;
    pipe(ends);
    timer(20);
    ssize_t count = read(ends[0], &byte, 1);
    printf("read %zd %d\n", count, errno == EINTR);
    set(SIGALRM, handler, SA_RESTART);
    child = fork();
    if (child == 0) {
        usleep(60000);
        write(ends[1], "x", 1);
        _exit(0);
    }
    got = 0;
    timer(20);
    count = read(ends[0], &byte, 1);
    printf("restarted read %zd %d\n", count, got == SIGALRM);
    waitpid(child, &status, 0);
    timer(20);
    struct timespec rest = {0, 0}, half = {0, 500000000};
    int result = nanosleep(&half, &rest);
    printf("nanosleep %d %d\n", result, rest.tv_nsec > 0);

    stack_t stack = {.ss_sp = alt, .ss_size = sizeof alt}, oldstack;
    sigaltstack(&stack, &oldstack);
    printf("altstack %d\n", oldstack.ss_flags == SS_DISABLE);
    set(SIGSEGV, jump, SA_ONSTACK);
    if (sigsetjmp(back, 1) == 0)
        *(volatile int *)0x10 = 1;
    printf("segv %d %p alt %d code %d\n", got == SIGSEGV, address, on_alt, code);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sigsetjmp(back, 1) == 0)
        page[5] = 1;
    printf("protected %d\n", (char *)address == page + 5);
    set(SIGILL, skip, 0);
    register long a0 asm(FIRST_NAME) = 1;
    asm volatile(ILLEGAL : "+r"(a0));
    printf("sigill %d %ld\n", got == SIGILL, a0);
    set(SIGTRAP, skip, 0);
    asm volatile(BREAK : "+r"(a0));
    printf("sigtrap %d\n", got == SIGTRAP);

    signal(SIGPIPE, SIG_IGN);
    close(ends[0]);
    count = write(ends[1], "x", 1);
    printf("ignored sigpipe %zd %d\n", count, errno == EPIPE);
    set(SIGPIPE, handler, 0);
    got = 0;
    count = write(ends[1], "x", 1);
    printf("caught sigpipe %zd %d\n", count, got == SIGPIPE);
    child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        pause();
    }
    usleep(20000);
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    printf("killed %d\n", WTERMSIG(status));
    return 0;
}
