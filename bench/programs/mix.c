/* A blend in the manner of embedded benchmarks: list search and merge sort, a small matrix,
 * a number-recognising state machine, and a bitwise CRC-16 over all results. */
#include "bench.h"

struct node { struct node *next; int16_t key, index; };
enum { NODES = 64, SIDE = 9 };
static struct node nodes[NODES];

static uint16_t crc16(uint16_t crc, uint32_t value)
{
    for (int bit = 0; bit < 32; bit++, value >>= 1)
        crc = (uint16_t)(crc >> 1 ^ (((crc ^ value) & 1) ? 0xa001 : 0));
    return crc;
}

static struct node *merge(struct node *a, struct node *b)
{
    struct node head, *tail = &head;
    while (a && b) {
        struct node **least = a->key <= b->key ? &a : &b;
        tail = tail->next = *least;
        *least = (*least)->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static struct node *merge_sort(struct node *list)
{
    if (!list || !list->next)
        return list;
    struct node *slow = list, *fast = list->next;
    while (fast && fast->next) {
        slow = slow->next;
        fast = fast->next->next;
    }
    fast = slow->next;
    slow->next = NULL;
    return merge(merge_sort(list), merge_sort(fast));
}

static uint16_t list_part(uint16_t crc, uint64_t *seed)
{
    for (int i = 0; i < NODES; i++)
        nodes[i] = (struct node){i + 1 < NODES ? &nodes[i + 1] : NULL,
                                 (int16_t)next_random(seed), (int16_t)i};
    for (struct node *at = merge_sort(nodes); at; at = at->next)
        crc = crc16(crc, (uint32_t)at->index);
    return crc;
}

static uint16_t matrix_part(uint16_t crc, uint64_t *seed)
{
    int16_t a[SIDE][SIDE], b[SIDE][SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) {
        a[i / SIDE][i % SIDE] = (int16_t)next_random(seed);
        b[i % SIDE][i / SIDE] = (int16_t)next_random(seed);
    }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int32_t total = 0;
            for (int k = 0; k < SIDE; k++)
                total += (a[i][k] >> 2 & 0x7f) * (b[k][j] >> 5 & 0x1f);
            crc = crc16(crc, (uint32_t)total);
        }
    return crc;
}

enum state { START, SIGN, WHOLE, POINT, FRACTION, EXPONENT, POWER, BAD, STATES };

static enum state step(enum state state, char c)
{
    int digit = c >= '0' && c <= '9', sign = c == '+' || c == '-';
    switch (state) {
    case START: return digit ? WHOLE : sign ? SIGN : c == '.' ? POINT : BAD;
    case SIGN: return digit ? WHOLE : c == '.' ? POINT : BAD;
    case WHOLE: return digit ? WHOLE : c == '.' ? FRACTION : c == 'e' ? EXPONENT : BAD;
    case POINT: return digit ? FRACTION : BAD;
    case FRACTION: return digit ? FRACTION : c == 'e' ? EXPONENT : BAD;
    case EXPONENT: return digit || sign ? POWER : BAD;
    case POWER: return digit ? POWER : BAD;
    default: return BAD;
    }
}

static uint16_t state_part(uint16_t crc, uint64_t *seed)
{
    static const char *const words[] = {"12", "-3.5", "+.5e7", "1e-9", "0x1f", "..", "-", "7e+2"};
    uint32_t ends[STATES] = {0};
    for (int i = 0; i < 48; i++) {
        enum state state = START;
        for (const char *at = words[next_random(seed) >> 61]; *at; at++)
            state = step(state, *at);
        ends[state]++;
    }
    for (int i = 0; i < STATES; i++)
        crc = crc16(crc, ends[i]);
    return crc;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 66;
    for (uint64_t n = 10 * work_size(argc, argv); n; n--)
        sum = mix(sum, state_part(matrix_part(list_part((uint16_t)n, &seed), &seed), &seed));
    return report("mix", sum);
}
