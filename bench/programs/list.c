/* Linked lists on the heap: allocate, insert in order, reverse, free. */
#include "bench.h"

struct node { struct node *next; uint32_t key; };
enum { LISTS = 64, NODES = 1500 };
static struct node *lists[LISTS];

static void insert(struct node **head, uint32_t key)
{
    struct node *fresh = malloc(sizeof *fresh);
    if (!fresh)
        exit(1);
    while (*head && (*head)->key < key)
        head = &(*head)->next;
    *fresh = (struct node){*head, key};
    *head = fresh;
}

static struct node *reverse(struct node *list)
{
    struct node *done = NULL;
    while (list) {
        struct node *next = list->next;
        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static uint64_t consume(struct node *list)
{
    uint64_t sum = 0;
    while (list) {
        struct node *next = list->next;
        sum = mix(sum, list->key);
        free(list);
        list = next;
    }
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 29;
    for (uint64_t n = work_size(argc, argv); n; n--) {
        for (int i = 0; i < NODES; i++) {
            uint64_t r = next_random(&seed);
            insert(&lists[r % LISTS], (uint32_t)(r >> 32));
        }
        for (int i = 0; i < LISTS; i++) {
            sum = mix(sum, consume(reverse(lists[i])));
            lists[i] = NULL;
        }
    }
    return report("list", sum);
}
