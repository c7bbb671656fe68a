/* An interpreter of a small stack machine that adds up Collatz lengths: what scripts do. */
#include "bench.h"

enum op { PUSH, LOAD, STORE, ADD, MULTIPLY, AND, HALVE, LESS, JUMP, JUMP_ZERO, HALT };
enum { LIMIT, START, VALUE, TOTAL, VARIABLES };
enum { OUTER = 8, INNER = 19, EVEN = 43, HALF = 45, NEXT = 57, END = 66 };

/* total = 0;
 * for (start = 1; start < limit; start++)
 *     for (value = start; 1 < value; total++)
 *         value = (value & 1 ? value * 3 + 1 : value) / 2; */
static const int32_t code[] = {
    /*  0 */ PUSH, 0, STORE, TOTAL, PUSH, 1, STORE, START,
    /*  8 */ LOAD, START, LOAD, LIMIT, LESS, JUMP_ZERO, END,
    /* 15 */ LOAD, START, STORE, VALUE,
    /* 19 */ PUSH, 1, LOAD, VALUE, LESS, JUMP_ZERO, NEXT,
    /* 26 */ LOAD, VALUE, PUSH, 1, AND, JUMP_ZERO, EVEN,
    /* 33 */ LOAD, VALUE, PUSH, 3, MULTIPLY, PUSH, 1, ADD, JUMP, HALF,
    /* 43 */ LOAD, VALUE,
    /* 45 */ HALVE, STORE, VALUE,
    /* 48 */ LOAD, TOTAL, PUSH, 1, ADD, STORE, TOTAL, JUMP, INNER,
    /* 57 */ LOAD, START, PUSH, 1, ADD, STORE, START, JUMP, OUTER,
    /* 66 */ HALT,
};

static uint64_t run(int64_t limit)
{
    int64_t variables[VARIABLES] = {limit}, stack[8], *top = stack;
    const int32_t *pc = code;
    for (;;) {
        switch ((enum op)*pc++) {
        case PUSH: *top++ = *pc++; break;
        case LOAD: *top++ = variables[*pc++]; break;
        case STORE: variables[*pc++] = *--top; break;
        case ADD: top--; top[-1] += top[0]; break;
        case MULTIPLY: top--; top[-1] *= top[0]; break;
        case AND: top--; top[-1] &= top[0]; break;
        case HALVE: top[-1] /= 2; break;
        case LESS: top--; top[-1] = top[-1] < top[0]; break;
        case JUMP: pc = code + *pc; break;
        case JUMP_ZERO: pc = *--top ? pc + 1 : code + *pc; break;
        case HALT: return (uint64_t)variables[TOTAL];
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t sum = 0;
    for (uint64_t n = work_size(argc, argv); n; n--)
        sum = mix(sum, run(500 + (int64_t)(n % 16)));
    return report("bytecode", sum);
}
