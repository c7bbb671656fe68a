/* Quicksort and heapsort of the same random numbers: data-dependent branches. */
#include "bench.h"

enum { COUNT = 20000 };
static uint32_t source[COUNT], a[COUNT], b[COUNT];

static void quick_sort(uint32_t *v, int32_t low, int32_t high)
{
    while (low < high) {
        uint32_t pivot = v[low + (high - low) / 2];
        int32_t i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) {
                uint32_t t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (j - low < high - i) {
            quick_sort(v, low, j);
            low = i;
        } else {
            quick_sort(v, i, high);
            high = j;
        }
    }
}

static void sift_down(uint32_t *v, uint32_t at, uint32_t count)
{
    uint32_t value = v[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && v[child + 1] > v[child])
            child++;
        if (v[child] <= value)
            break;
        v[at] = v[child];
    }
    v[at] = value;
}

static void heap_sort(uint32_t *v, uint32_t count)
{
    for (uint32_t i = count / 2; i-- > 0;)
        sift_down(v, i, count);
    for (uint32_t end = count - 1; end > 0; end--) {
        uint32_t t = v[0];
        v[0] = v[end];
        v[end] = t;
        sift_down(v, 0, end);
    }
}

int main(int argc, char **argv)
{
    uint64_t sum = 0, seed = 42;
    for (uint64_t n = work_size(argc, argv); n; n--) {
        for (int i = 0; i < COUNT; i++)
            source[i] = (uint32_t)next_random(&seed);
        memcpy(a, source, sizeof a);
        memcpy(b, source, sizeof b);
        quick_sort(a, 0, COUNT - 1);
        heap_sort(b, COUNT);
        if (memcmp(a, b, sizeof a))
            return puts("sort: the two sorts differ"), 1;
        for (int i = 0; i < COUNT; i += 97)
            sum = mix(sum, a[i]);
    }
    return report("sort", sum);
}
