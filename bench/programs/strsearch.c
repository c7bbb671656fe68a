/* Substring search three ways (plain, Horspool, and a wildcard matcher) in made-up text. */
#include "bench.h"

enum { SIZE = 1 << 15 };
static char text[SIZE + 1];

static uint64_t count_plain(const char *needle, size_t length)
{
    uint64_t found = 0;
    for (size_t at = 0; at + length <= SIZE; at++) {
        size_t i = 0;
        while (i < length && text[at + i] == needle[i])
            i++;
        found += i == length;
    }
    return found;
}

static uint64_t count_horspool(const char *needle, size_t length)
{
    uint64_t found = 0;
    size_t shift[256];
    for (int i = 0; i < 256; i++)
        shift[i] = length;
    for (size_t i = 0; i + 1 < length; i++)
        shift[(uint8_t)needle[i]] = length - 1 - i;
    for (size_t at = 0; at + length <= SIZE; at += shift[(uint8_t)text[at + length - 1]])
        found += !memcmp(text + at, needle, length);
    return found;
}

/* `*` stands for any run of characters other than a space. */
static int matches(const char *pattern, const char *at)
{
    for (; *pattern; pattern++, at++) {
        if (*pattern == '*') {
            do
                if (matches(pattern + 1, at))
                    return 1;
            while (*at && *at++ != ' ');
            return 0;
        }
        if (*pattern != *at)
            return 0;
    }
    return 1;
}

static uint64_t count_wildcard(const char *pattern)
{
    uint64_t found = 0;
    for (size_t at = 0; at < SIZE; at++)
        found += (uint64_t)matches(pattern, text + at);
    return found;
}

int main(int argc, char **argv)
{
    static const char *const needles[] = {"ab", "abac", "cabbage", "dada", "eeeee"};
    uint64_t sum = 0, seed = 99;
    for (size_t i = 0; i < SIZE; i++)
        text[i] = "abcde abc ab a e"[next_random(&seed) >> 60];
    for (uint64_t n = work_size(argc, argv); n; n--) {
        const char *needle = needles[n % 5];
        size_t length = strlen(needle);
        uint64_t plain = count_plain(needle, length);
        uint64_t horspool = count_horspool(needle, length);
        if (plain != horspool)
            return puts("strsearch: the two searches differ"), 1;
        sum = mix(mix(sum, plain), count_wildcard("a*ba*c"));
        text[n * 31 % SIZE] = 'a' + n % 5;
    }
    return report("strsearch", sum);
}
