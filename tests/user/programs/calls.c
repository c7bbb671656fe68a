/* System calls whose structures or meaning jitemu handles itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __arm__
#define SYS_newfstatat SYS_fstatat64
#endif

extern char **environ;

static void files(const char *self)
{
    struct stat st, st2;
    struct statx stx;
    stat("/etc/passwd", &st);
    statx(AT_FDCWD, "/etc/passwd", 0, STATX_BASIC_STATS, &stx);
    printf("stat %ld %o %ld %d\n", (long)st.st_size, st.st_mode, (long)st.st_nlink,
           stx.stx_size == (unsigned long)st.st_size && stx.stx_ino == st.st_ino);
    int fd = open("/etc/passwd", O_RDONLY);
    fstat(fd, &st2);
    printf("fstat %d %d\n", st.st_ino == st2.st_ino, st.st_mtime == st2.st_mtime);
    close(fd);
    printf("enoent %d %d\n", stat("/no/such", &st), errno == ENOENT);
    printf("efault %ld %d\n", syscall(SYS_openat, AT_FDCWD, 8L, 0, 0), errno == EFAULT);
    printf("efault %ld %d\n", syscall(SYS_newfstatat, AT_FDCWD, "/", 8L, 0), errno == EFAULT);
    char name[256] = {0}, real[256] = {0};
    readlink("/proc/self/exe", name, sizeof name);
    realpath(self, real);
    printf("exe %d\n", strcmp(name, real) == 0);
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int exec = 0, stack = 0, host = 0;
    while (fgets(line, sizeof line, maps)) {
        exec |= strstr(line, "r-x") && strstr(line, strrchr(real, '/'));
        stack |= strstr(line, "[stack]") != NULL;
        host |= strstr(line, "python") != NULL;
    }
    printf("maps %d %d %d\n", exec, stack, host);
}

static void memory(void)
{
    char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[4096] = 7;
    printf("mprotect %d\n", mprotect(p, 4096, PROT_NONE));
    printf("munmap %d\n", munmap(p, 4096));
    char *q = mremap(p + 4096, 8192, 65536, MREMAP_MAYMOVE);
    printf("mremap %d %d\n", q[0], q != MAP_FAILED);
    char *r = mmap(q + 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("fixed %d %d\n", r == q + 4096, r[0]);
    printf("einval %ld %d\n", (long)mmap(NULL, 0, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
           errno == EINVAL);
    void *end = sbrk(0);
    printf("brk %d %d\n", sbrk(100000) == end, (char *)sbrk(0) - (char *)end);
    brk(end);
    int id = shmget(IPC_PRIVATE, 10000, 0600);
    char *s = shmat(id, NULL, 0);
    s[9999] = 3;
    printf("shm %d %d\n", s[9999], shmdt(s));
    shmctl(id, IPC_RMID, NULL);
}

static void waits(void)
{
    int ends[2];
    pipe(ends);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x1122334455667788}, out = {0};
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
    printf("epoll %d\n", epoll_wait(epoll, &out, 1, 1));
    write(ends[1], "x", 1);
    printf("epoll %d", epoll_wait(epoll, &out, 1, 1000));
    printf(" %d %llx\n", out.events, (unsigned long long)out.data.u64);
    struct pollfd fds = {ends[0], POLLIN, 0};
    printf("poll %d %d\n", poll(&fds, 1, 100), fds.revents);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    struct timeval now = {0, 0};
    printf("select %d\n", select(ends[0] + 1, &set, NULL, NULL, &now));
}

static void processes(const char *self)
{
    pid_t pid;
    int status;
    char *missing[] = {"/no/such/program", NULL};
    printf("spawn %d\n", posix_spawn(&pid, missing[0], NULL, NULL, missing, environ));
    char *again[] = {"renamed", "child", NULL};
    printf("spawn %d\n", posix_spawn(&pid, self, NULL, NULL, again, environ));
    waitpid(pid, &status, 0);
    printf("status %d\n", WEXITSTATUS(status));
    if ((pid = fork()) == 0) {
        execl("/proc/self/exe", "renamed", "child", NULL);
        _exit(99);
    }
    waitpid(pid, &status, 0);
    printf("status %d\n", WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1) {
        printf("child %s %s\n", argv[0], getenv("LD_SOMETHING"));
        return 9;
    }
    setenv("LD_SOMETHING", "kept", 1);
    struct utsname names;
    uname(&names);
    printf("machine %s\n", names.machine);
    printf("hwcap %lx page %ld secure %ld\n", getauxval(AT_HWCAP), getauxval(AT_PAGESZ),
           getauxval(AT_SECURE));
    files(argv[0]);
    memory();
    waits();
    processes(argv[0]);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    printf("limit %d\n", limit.rlim_cur > 0);
    printf("unknown %ld %d\n", syscall(9999), errno == ENOSYS);
    return 0;
}
