/* Disk throughput: `disk N MODE FILE` does N MiB in requests of 1 MiB one after another (read,
 * write), or N/4 KiB requests of 4 KiB at random places, 32 at a time (randread, randwrite).
 * Direct I/O by Linux's native asynchronous calls; prints bytes/s of the guest's clock. */
#define _GNU_SOURCE
#include "bench.h"
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH = 32, MIB = 1 << 20, SMALL = 4096 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return fputs("usage: disk N read|write|randread|randwrite FILE\n", stderr), 2;
    int random = !strncmp(argv[2], "rand", 4), writing = strstr(argv[2], "write") != NULL;
    size_t size = random ? SMALL : MIB;
    uint64_t total = work_size(argc, argv) * MIB / size, depth = random ? DEPTH : 2;
    int file = open(argv[3], (writing ? O_RDWR : O_RDONLY) | O_DIRECT);
    off_t length = file < 0 ? -1 : lseek(file, 0, SEEK_END);
    if (length < (off_t)size)
        return perror(argv[3]), 1;
    uint64_t places = (uint64_t)length / size, seed = 41, sum = 0, sent = 0, done = 0;
    aio_context_t context = 0;
    struct iocb blocks[DEPTH], *free_blocks[DEPTH];
    struct io_event events[DEPTH];
    uint64_t n_free = depth;
    if (syscall(SYS_io_setup, DEPTH, &context))
        return perror("io_setup"), 1;
    for (uint64_t i = 0; i < depth; i++) {
        char *buffer = aligned_alloc(SMALL, size);
        memset(buffer, (int)i + 1, size);
        blocks[i] = (struct iocb){
            .aio_lio_opcode = writing ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
            .aio_fildes = (uint32_t)file,
            .aio_buf = (uint64_t)(uintptr_t)buffer,
            .aio_nbytes = size,
        };
        free_blocks[i] = &blocks[i];
    }
    double start = now();
    while (done < total) {
        long submitted = 0;
        struct iocb *batch[DEPTH];
        while (n_free && sent < total) {
            struct iocb *block = batch[submitted++] = free_blocks[--n_free];
            uint64_t place = random ? next_random(&seed) % places : sent % places;
            block->aio_offset = (int64_t)(place * size);
            sent++;
        }
        if (submitted && syscall(SYS_io_submit, context, submitted, batch) != submitted)
            return perror("io_submit"), 1;
        long got = syscall(SYS_io_getevents, context, 1, DEPTH, events, NULL);
        for (long i = 0; i < got; i++) {
            struct iocb *block = (struct iocb *)(uintptr_t)events[i].obj;
            if (events[i].res != (int64_t)size)
                return fprintf(stderr, "disk: request failed: %lld\n", (long long)events[i].res), 1;
            sum += mix(1, *(uint64_t *)(uintptr_t)block->aio_buf);
            free_blocks[n_free++] = block;
            done++;
        }
    }
    if (writing && fsync(file))
        return perror("fsync"), 1;
    double seconds = now() - start;
    printf("disk %s %016" PRIx64 " %.0f bytes/s\n", argv[2], sum, (double)(total * size) / seconds);
    return 0;
}
