/* An open-addressing hash table of strings: insert, look up, delete with shifting back. */
#include "bench.h"

enum { SLOTS = 1 << 13, KEYS = 4000, KEY_LENGTH = 12 };
struct entry { char key[KEY_LENGTH]; uint32_t used; uint64_t value; };
static struct entry table[SLOTS];

static uint32_t hash(const char *key)
{
    uint32_t h = 2166136261u;
    while (*key)
        h = (h ^ (uint8_t)*key++) * 16777619u;
    return h ^ h >> 15;
}

static struct entry *find(const char *key)
{
    uint32_t slot = hash(key) % SLOTS;
    while (table[slot].used && strcmp(table[slot].key, key))
        slot = (slot + 1) % SLOTS;
    return &table[slot];
}

static void erase(struct entry *gone)
{
    uint32_t hole = (uint32_t)(gone - table);
    for (uint32_t next = (hole + 1) % SLOTS; table[next].used; next = (next + 1) % SLOTS) {
        uint32_t home = hash(table[next].key) % SLOTS;
        if ((next - home) % SLOTS >= (next - hole) % SLOTS) {
            table[hole] = table[next];
            hole = next;
        }
    }
    table[hole].used = 0;
}

static void make_key(char *key, uint64_t number)
{
    int at = 0;
    for (number = number * 0x9e3779b97f4a7c15ULL >> 44; number; number /= 36)
        key[at++] = "0123456789abcdefghijklmnopqrstuvwxyz"[number % 36];
    key[at] = 0;
}

static uint64_t one_round(uint64_t seed)
{
    uint64_t sum = 0;
    char key[KEY_LENGTH];
    for (int i = 0; i < KEYS; i++) {
        make_key(key, next_random(&seed) % (2 * KEYS));
        struct entry *entry = find(key);
        if (!entry->used) {
            entry->used = 1;
            entry->value = 0;
            strcpy(entry->key, key);
        }
        entry->value += (uint64_t)i;
    }
    for (uint64_t i = 0; i < 2 * KEYS; i++) {
        make_key(key, i);
        struct entry *entry = find(key);
        if (entry->used) {
            sum = mix(sum, entry->value);
            erase(entry);
        }
    }
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    for (uint64_t n = work_size(argc, argv); n; n--)
        sum = mix(sum, one_round(n));
    return report("hashtable", sum);
}
