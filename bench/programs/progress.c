/* Many different small loops in turn, and when each turn ended: how fast a program that has
 * just begun is.  `progress N FILE` writes the monotonic clock and the processor time at the
 * end of each of its N turns, in nanoseconds, to the file. */
#include <time.h>
#include "bench.h"

enum { WORDS = 512, TEXT = 2048, SIDE = 12, NODES = 256 };
static uint64_t words[WORDS], seed = 9;
static char text[TEXT];
static struct node { struct node *left, *right; uint64_t key; } nodes[NODES];

static uint64_t sorting(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < 128; i++)
        words[i] = next_random(&seed) >> 40;
    for (int gap = 57; gap; gap /= 3)
        for (int i = gap; i < 128; i++) {
            uint64_t kept = words[i];
            int j = i;
            for (; j >= gap && words[j - gap] > kept; j -= gap)
                words[j] = words[j - gap];
            words[j] = kept;
        }
    for (int i = 0; i < 128; i++)
        sum = mix(sum, words[i]);
    return sum;
}

static uint64_t sieving(void)
{
    uint64_t count = 0;
    memset(text, 1, TEXT);
    for (int i = 2; i < TEXT; i++)
        if (text[i]) {
            count++;
            for (int j = i * i; j < TEXT; j += i)
                text[j] = 0;
        }
    return count;
}

static uint64_t searching(void)
{
    uint64_t found = 0;
    for (int i = 0; i < TEXT; i++)
        text[i] = (char)('a' + (next_random(&seed) >> 62));
    for (int i = 0; i + 4 < TEXT; i++)
        found += !memcmp(text + i, "abca", 4) + (strchr("bd", text[i]) != NULL);
    return found;
}

static uint64_t multiplying(void)
{
    double a[SIDE][SIDE], b[SIDE][SIDE], sum = 0;
    for (int i = 0; i < SIDE * SIDE; i++)
        b[i % SIDE][i / SIDE] = (a[i / SIDE][i % SIDE] = (double)(next_random(&seed) >> 50)) / 3;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            for (int k = 0; k < SIDE; k++)
                sum += a[i][k] * b[k][j];
    return mix_double(0, sum);
}

static uint64_t planting(void)
{
    uint64_t depth = 0;
    for (int i = 0; i < NODES; i++) {
        nodes[i] = (struct node){NULL, NULL, next_random(&seed)};
        for (struct node *at = nodes; i && at; depth++) {
            struct node **next = nodes[i].key < at->key ? &at->left : &at->right;
            at = *next;
            if (!at)
                *next = &nodes[i];
        }
    }
    return depth;
}

static uint64_t deciding(void)
{
    uint64_t sum = 0, state = 1;
    for (int i = 0; i < 1500; i++)
        switch (next_random(&state) >> 61) {
        case 0: sum ^= state >> 7; break;
        case 1: sum = sum << 1 | sum >> 63; break;
        case 3: sum -= 13; break;
        case 4: sum *= 17; break;
        case 5: sum ^= sum >> 11; break;
        default: sum = mix(sum, state);
        }
    return sum;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t (*const jobs[])(void) = {sorting, sieving, searching, multiplying, planting,
                                         deciding};

int main(int argc, char **argv)
{
    uint64_t turns = work_size(argc, argv), sum = 0;
    uint64_t (*stamps)[2] = calloc(turns, sizeof *stamps);
    for (uint64_t turn = 0; stamps && turn < turns; turn++) {
        for (int job = 0; job < 6; job++)
            sum = mix(sum, jobs[job]());
        stamps[turn][0] = clock_ns(CLOCK_MONOTONIC);
        stamps[turn][1] = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    }
    FILE *file = argc > 2 ? fopen(argv[2], "w") : NULL;
    for (uint64_t turn = 0; file && turn < turns; turn++)
        fprintf(file, "%" PRIu64 " %" PRIu64 "\n", stamps[turn][0], stamps[turn][1]);
    return (file && fclose(file)) | report("progress", sum);
}
