/* A small LZ77 compressor with a hash of three bytes, its decompressor, and CRC-32 of both. */
#include "bench.h"

enum { SIZE = 1 << 16, HASH_BITS = 13, MIN_MATCH = 3, MAX_MATCH = 66, WINDOW = 1 << 15 };
static uint8_t text[SIZE], packed[SIZE * 2], unpacked[SIZE];
static uint32_t crc_table[256];

static uint32_t crc32(const uint8_t *data, size_t length)
{
    uint32_t crc = ~0u;
    while (length--)
        crc = crc >> 8 ^ crc_table[(crc ^ *data++) & 255];
    return ~crc;
}

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        crc_table[i] = c;
    }
}

/* Words out of a small vocabulary, so that there are matches to find. */
static void make_text(uint64_t seed)
{
    size_t at = 0;
    while (at < SIZE) {
        uint64_t r = next_random(&seed);
        uint64_t word = (r >> 8) % 300 * 0x9e3779b97f4a7c15ULL;
        for (unsigned i = 0; i < 2 + r % 7 && at < SIZE; i++)
            text[at++] = 'a' + (word >> (i * 5)) % 26;
        if (at < SIZE)
            text[at++] = ' ';
    }
}

/* Output: a byte below 64 is followed by that many + 1 literals; from 64 on it is a match of
 * (byte - 64 + MIN_MATCH) bytes, its distance in the next two bytes. */
static size_t flush_literals(const uint8_t *from, size_t count, size_t out)
{
    while (count) {
        size_t n = count < 64 ? count : 64;
        packed[out++] = (uint8_t)(n - 1);
        memcpy(packed + out, from, n);
        out += n; from += n; count -= n;
    }
    return out;
}

static size_t compress(void)
{
    static int32_t heads[1 << HASH_BITS];
    size_t in = 0, out = 0, literals = 0;
    memset(heads, 0xff, sizeof heads);
    while (in + MIN_MATCH <= SIZE) {
        uint32_t key = text[in] | text[in + 1] << 8 | text[in + 2] << 16;
        uint32_t slot = key * 2654435761u >> (32 - HASH_BITS);
        int32_t candidate = heads[slot];
        size_t length = 0;
        heads[slot] = (int32_t)in;
        if (candidate >= 0 && in - candidate < WINDOW)
            while (length < MAX_MATCH && in + length < SIZE
                   && text[candidate + length] == text[in + length])
                length++;
        if (length < MIN_MATCH) {
            in++; literals++;
            continue;
        }
        out = flush_literals(text + in - literals, literals, out);
        literals = 0;
        packed[out++] = (uint8_t)(64 + length - MIN_MATCH);
        packed[out++] = (uint8_t)(in - candidate);
        packed[out++] = (uint8_t)((in - candidate) >> 8);
        in += length;
    }
    literals += SIZE - in;
    return flush_literals(text + SIZE - literals, literals, out);
}

static size_t decompress(size_t length)
{
    size_t in = 0, out = 0;
    while (in < length) {
        unsigned code = packed[in++];
        if (code < 64) {
            memcpy(unpacked + out, packed + in, code + 1);
            in += code + 1; out += code + 1;
        } else {
            size_t distance = packed[in] | packed[in + 1] << 8;
            in += 2;
            for (unsigned n = code - 64 + MIN_MATCH; n; n--, out++)
                unpacked[out] = unpacked[out - distance];
        }
    }
    return out;
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    make_crc_table();
    for (uint64_t n = work_size(argc, argv); n; n--) {
        make_text(n);
        size_t length = compress();
        sum = mix(sum, crc32(packed, length));
        if (decompress(length) != SIZE || crc32(text, SIZE) != crc32(unpacked, SIZE))
            return puts("lz: the round trip failed"), 1;
    }
    return report("lz", sum);
}
