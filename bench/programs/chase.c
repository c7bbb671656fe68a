/* Pointer chasing through one random cycle of 2 MiB: each load waits for the one before. */
#include "bench.h"

enum { NODES = 1 << 15 };
struct node { struct node *next; uint64_t value[7]; };
static struct node nodes[NODES];
static uint32_t order[NODES];

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 23;
    for (uint32_t i = 0; i < NODES; i++)
        order[i] = i;
    for (uint32_t i = NODES - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(next_random(&seed) % (i + 1)), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (uint32_t i = 0; i < NODES; i++) {
        nodes[order[i]].next = &nodes[order[(i + 1) % NODES]];
        nodes[order[i]].value[i % 7] = i;
    }
    const struct node *at = nodes;
    for (uint64_t n = 100000 * work_size(argc, argv); n; n--) {
        sum = sum * 3 + at->value[n & 3];
        at = at->next;
    }
    return report("chase", mix(sum, (uint64_t)(at - nodes)));
}
