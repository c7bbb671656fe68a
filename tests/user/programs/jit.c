/* A guest that compiles at run time: random functions are emitted, run, held against an
   interpreter of the same operations, patched and emitted again.
   jit MODE ROUNDS SEED, where MODE is
     rwx      in memory that is writable and executable
     protect  in memory that is one or the other
     alias    written at one address, run at another
     fresh    in memory that is mapped anew each time
     threads  three threads, each with code of its own
     self     a loop that rewrites itself
     fork     by a process that is warm and its children
   Prints a checksum; the status is 1 if a result is wrong. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FUNCTIONS = 4, OPS = 40, REGISTERS = 6, DEPTH = 3, SPACE = 4096, DATA = 64, RUNS = 6,
       LIMIT = 400000 };
enum kind { ADDI, XORI, SLLI, SRLI, SRAI, ADD, SUB, XOR, AND, OR, SLTU, MUL, REM, ADDW, LOAD,
            STORE, SKIP, LOOP, END, CALL, KINDS };

struct op {
    uint8_t kind, d, a, b;
    int16_t imm;
};

struct place { /* where a compiler's code lies: where it is written, and where it runs */
    uint8_t *write, *run;
    const char *mode;
};

struct unit {
    struct op ops[FUNCTIONS][OPS];
    int count[FUNCTIONS];
    uint64_t cost[FUNCTIONS];
    uint16_t offset[FUNCTIONS][OPS]; /* of each operation's code */
    uint64_t data[2][DATA], state;
    struct place place;
};

static uint64_t draw(struct unit *u)
{
    u->state ^= u->state << 13;
    u->state ^= u->state >> 7;
    return u->state ^= u->state << 17;
}

static unsigned below(struct unit *u, unsigned limit) { return (draw(u) >> 20) % limit; }

static void fail(const char *what)
{
    printf("wrong: %s\n", what);
    exit(1);
}

/* The reference */

static void interpret(struct unit *u, int f, uint64_t *r)
{
    int left[DEPTH], start[DEPTH], depth = 0;
    for (int i = 0; i < u->count[f]; i++) {
        struct op o = u->ops[f][i];
        uint64_t a = r[o.a], b = r[o.b], *d = &r[o.d];
        switch (o.kind) {
        case ADDI: *d = a + o.imm; break;
        case XORI: *d = a ^ (int64_t)o.imm; break;
        case SLLI: *d = a << (o.imm & 63); break;
        case SRLI: *d = a >> (o.imm & 63); break;
        case SRAI: *d = (int64_t)a >> (o.imm & 63); break;
        case ADD: *d = a + b; break;
        case SUB: *d = a - b; break;
        case XOR: *d = a ^ b; break;
        case AND: *d = a & b; break;
        case OR: *d = a | b; break;
        case SLTU: *d = a < b; break;
        case MUL: *d = a * b; break;
        case REM: *d = b ? a % b : a; break;
        case ADDW: *d = (int32_t)(a + b); break;
        case LOAD: *d = u->data[0][o.imm & DATA - 1]; break;
        case STORE: u->data[0][o.imm & DATA - 1] = a; break;
        case SKIP: i += a < b; break;
        case LOOP: left[depth] = o.imm; start[depth++] = i; break;
        case END:
            if (--left[depth - 1]) i = start[depth - 1];
            else depth--;
            break;
        case CALL: interpret(u, o.imm, r); break;
        }
    }
}

/* The compiler: registers are a0-a5, loops count in s2-s4, a6 has the data */

static uint32_t r_type(int op, int f3, int f7, int d, int a, int b)
{
    return op | d << 7 | f3 << 12 | a << 15 | b << 20 | (uint32_t)f7 << 25;
}
static uint32_t i_type(int op, int f3, int d, int a, int imm)
{
    return op | d << 7 | f3 << 12 | a << 15 | (uint32_t)imm << 20;
}
static uint32_t s_type(int f3, int a, int b, int imm)
{
    return 0x23 | (imm & 31) << 7 | f3 << 12 | a << 15 | b << 20 | (uint32_t)(imm >> 5) << 25;
}
static uint32_t branch(int f3, int a, int b, int to)
{
    return 0x63 | f3 << 12 | a << 15 | b << 20 | (to >> 11 & 1) << 7 | (to >> 1 & 15) << 8
           | (uint32_t)(to >> 5 & 63) << 25 | (uint32_t)(to >> 12 & 1) << 31;
}
static uint32_t jal(int d, int to)
{
    return 0x6f | d << 7 | (to >> 12 & 255) << 12 | (to >> 11 & 1) << 20 | (to >> 1 & 1023) << 21
           | (uint32_t)(to >> 20 & 1) << 31;
}

static void put(struct unit *u, int *at, uint32_t word)
{
    memcpy(u->place.write + *at, &word, 4);
    *at += 4;
}

static uint32_t word_of(struct unit *u, int f, int i, int at)
{
    static const uint8_t imm3[] = {[ADDI] = 0, [XORI] = 4, [SLLI] = 1, [SRLI] = 5, [SRAI] = 5};
    static const uint8_t reg3[] = {[ADD] = 0, [SUB] = 0, [XOR] = 4, [AND] = 7, [OR] = 6,
                                   [SLTU] = 3, [MUL] = 0, [REM] = 7};
    struct op o = u->ops[f][i];
    int d = o.d + 10, a = o.a + 10, b = o.b + 10, imm = o.imm;
    switch (o.kind) {
    case SLLI: case SRLI: case SRAI:
        return i_type(0x13, imm3[o.kind], d, a, imm & 63 | (o.kind == SRAI) << 10);
    case ADDI: case XORI: return i_type(0x13, imm3[o.kind], d, a, imm);
    case MUL: case REM: return r_type(0x33, reg3[o.kind], 1, d, a, b);
    case ADDW: return r_type(0x3b, 0, 0, d, a, b);
    case LOAD: return i_type(3, 3, d, 16, (imm & DATA - 1) * 8);
    case STORE: return s_type(3, 16, a, (imm & DATA - 1) * 8);
    case SKIP: return branch(6, a, b, 8);
    case CALL: return jal(1, imm * SPACE / FUNCTIONS - at);
    default: return r_type(0x33, reg3[o.kind], o.kind == SUB ? 0x20 : 0, d, a, b);
    }
}

static void emit(struct unit *u, int f)
{
    int at = f * SPACE / FUNCTIONS, start[DEPTH], depth = 0;
    put(u, &at, i_type(0x13, 0, 2, 2, -32));
    put(u, &at, s_type(3, 2, 1, 0));
    for (int n = 0; n < DEPTH; n++) put(u, &at, s_type(3, 2, 18 + n, 8 + 8 * n));
    for (int i = 0; i < u->count[f]; i++) {
        struct op o = u->ops[f][i];
        u->offset[f][i] = at;
        if (o.kind == LOOP) {
            put(u, &at, i_type(0x13, 0, 18 + depth, 0, o.imm));
            start[depth++] = at;
        } else if (o.kind == END) {
            depth--;
            put(u, &at, i_type(0x13, 0, 18 + depth, 18 + depth, -1));
            put(u, &at, branch(1, 18 + depth, 0, start[depth] - at));
        } else
            put(u, &at, word_of(u, f, i, at));
    }
    put(u, &at, i_type(3, 3, 1, 2, 0));
    for (int n = 0; n < DEPTH; n++) put(u, &at, i_type(3, 3, 18 + n, 2, 8 + 8 * n));
    put(u, &at, i_type(0x13, 0, 2, 2, 32));
    put(u, &at, i_type(0x67, 0, 0, 1, 0));
}

static void flush(struct unit *u, int from, int to)
{
    uint64_t how = draw(u) % 3;
    char *code = (char *)(how ? u->place.run : u->place.write);
    if (how < 2) __builtin___clear_cache(code + from, code + to);
    else asm volatile("fence.i" ::: "memory");
}

static void call(struct unit *u, int f, uint64_t *r)
{
    register uint64_t a0 asm("a0") = r[0], a1 asm("a1") = r[1], a2 asm("a2") = r[2];
    register uint64_t a3 asm("a3") = r[3], a4 asm("a4") = r[4], a5 asm("a5") = r[5];
    register void *code asm("t0") = u->place.run + f * SPACE / FUNCTIONS;
    register uint64_t *data asm("a6") = u->data[1];
    asm volatile("jalr ra, t0"
                 : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3), "+r"(a4), "+r"(a5)
                 : "r"(code), "r"(data) : "ra", "memory");
    r[0] = a0, r[1] = a1, r[2] = a2, r[3] = a3, r[4] = a4, r[5] = a5;
}

/* Random functions, each of which calls earlier ones; none takes more than LIMIT operations */

static void invent(struct unit *u, int f, unsigned loops)
{
    int depth = 0, n = 0;
    uint64_t times[DEPTH + 1] = {1}, cost = 0;
    for (; n < OPS - DEPTH; n++) {
        struct op o = {below(u, LOOP), below(u, REGISTERS), below(u, REGISTERS),
                       below(u, REGISTERS), (int)below(u, 4096) - 2048};
        int before = n ? u->ops[f][n - 1].kind : LOOP;
        int called = f ? below(u, f) : 0, choice = below(u, 16);
        int last = n == OPS - DEPTH - 1;
        if (before == SKIP || last) { /* the next operation is one instruction that is there */
            if (o.kind == SKIP) o.kind = ADD;
        } else if (choice < 2 && depth < DEPTH) {
            unsigned most = depth ? 6 : loops;
            o.kind = LOOP;
            o.imm = 1 + below(u, most);
            times[depth + 1] = times[depth] * o.imm;
            depth++;
        } else if (choice < 4 && depth && before != LOOP) {
            o.kind = END;
            depth--;
        } else if (choice < 6 && f && cost + times[depth] * u->cost[called] < LIMIT) {
            o.kind = CALL;
            o.imm = called;
            cost += times[depth] * u->cost[called];
        }
        cost += times[depth];
        u->ops[f][n] = o;
    }
    for (; depth; depth--) u->ops[f][n++] = (struct op){.kind = END};
    u->count[f] = n;
    u->cost[f] = cost;
}

static void opened(struct unit *u, int writable)
{
    if (!strcmp(u->place.mode, "protect"))
        mprotect(u->place.run, SPACE, PROT_READ | (writable ? PROT_WRITE : PROT_EXEC));
}

static void compile(struct unit *u, int loops)
{
    if (!strcmp(u->place.mode, "fresh")) /* other memory at the same address */
        u->place.run = mmap(u->place.run, SPACE, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    opened(u, 1);
    for (int f = 0; f < FUNCTIONS; f++) {
        invent(u, f, loops);
        emit(u, f);
    }
    opened(u, 0);
    flush(u, 0, SPACE);
}

/* Change one operation, and its one instruction in place: an immediate, or the function called */
static void patch(struct unit *u)
{
    int f = below(u, FUNCTIONS), i = below(u, u->count[f]);
    struct op *o = &u->ops[f][i];
    if (o->kind == LOOP || o->kind == END) return;
    if (o->kind == CALL) {
        int called = below(u, f);
        if (u->cost[called] > u->cost[o->imm]) return;
        o->imm = called;
    }
    else
        o->imm = (int)below(u, 4096) - 2048;
    int at = u->offset[f][i];
    opened(u, 1);
    uint32_t word = word_of(u, f, i, at);
    memcpy(u->place.write + at, &word, 4);
    opened(u, 0);
    flush(u, at, at + 4);
}

static uint64_t check(struct unit *u)
{
    uint64_t want[REGISTERS], got[REGISTERS], sum = 0;
    for (int f = 0; f < FUNCTIONS; f++) {
        for (int n = 0; n < REGISTERS; n++) want[n] = got[n] = draw(u) >> below(u, 64);
        interpret(u, f, want);
        call(u, f, got);
        if (memcmp(want, got, sizeof want) || memcmp(u->data[0], u->data[1], sizeof u->data[0]))
            fail("a function's result");
        for (int n = 0; n < REGISTERS; n++) sum = sum * 31 + got[n];
    }
    return sum;
}

static void begin(struct unit *u, const char *mode, uint64_t seed)
{
    memset(u, 0, sizeof *u);
    u->state = seed * 0x9e3779b97f4a7c15 | 1;
    u->place.mode = mode;
    int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS, all = PROT_READ | PROT_WRITE | PROT_EXEC;
    if (!strcmp(mode, "alias")) {
        fd = memfd_create("code", 0);
        ftruncate(fd, SPACE);
        flags = MAP_SHARED;
        all = PROT_READ | PROT_EXEC;
    }
    u->place.run = u->place.write = mmap(NULL, SPACE, all, flags, fd, 0);
    if (fd >= 0) u->place.write = mmap(NULL, SPACE, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (u->place.run == MAP_FAILED || u->place.write == MAP_FAILED) fail("no memory");
}

static uint64_t session(const char *mode, int rounds, uint64_t seed)
{
    struct unit *u = malloc(sizeof *u);
    uint64_t sum = 0;
    begin(u, mode, seed);
    for (int round = 0; round < rounds; round++) {
        compile(u, round % 8 ? 20 : 2000); /* every eighth has loops worth a region */
        for (int run = 0; run < RUNS; run++) {
            sum = sum * 31 + check(u);
            patch(u);
        }
    }
    munmap(u->place.run, SPACE);
    free(u);
    return sum;
}

/* A loop that changes the constant it adds, each time it comes round */

static uint64_t rewriting(int rounds)
{
    uint32_t *p = mmap(NULL, SPACE, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t want = 0, got;
    uint32_t code[] = {
        i_type(0x13, 0, 10, 10, 0),         /* loop: addi a0, a0, K */
        i_type(3, 6, 5, 12, 0),             /* lwu t0, (a2) */
        r_type(0x3b, 0, 0, 5, 5, 13),       /* addw t0, t0, a3 */
        s_type(2, 12, 5, 0),                /* sw t0, (a2) */
        0x0000100f,                         /* fence.i */
        i_type(0x13, 0, 11, 11, -1),        /* addi a1, a1, -1 */
        branch(1, 11, 0, -24),              /* bnez a1, loop */
        i_type(0x67, 0, 0, 1, 0),
    };
    memcpy(p, code, sizeof code);
    asm volatile("fence.i" ::: "memory");
    got = ((uint64_t (*)(uint64_t, uint64_t, void *, uint64_t))p)(0, rounds, p, 1 << 20);
    for (int i = 0; i < rounds; i++) want += ((int32_t)((uint32_t)i << 20)) >> 20;
    if (got != want) fail("the sum of code that rewrites itself");
    return got;
}

static int rounds_each;

static void *threaded(void *seed)
{
    return (void *)session("rwx", rounds_each, (uint64_t)seed);
}

/* Forks of a process that is warm, at any depth, which all go on compiling */

static uint64_t forking(const char *mode, int rounds, uint64_t seed, int depth)
{
    struct unit *u = malloc(sizeof *u);
    uint64_t sum = session("rwx", 9, seed);
    begin(u, mode, seed);
    compile(u, 2000);
    for (int run = 0; run < 8; run++) sum += check(u);
    for (int child = 0; child < rounds; child++) {
        int status;
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            check(u);
            patch(u);
            check(u);
            compile(u, 2000);
            for (int run = 0; run < 3; run++) check(u);
            if (depth) forking(mode, 2, seed + child + 1, depth - 1);
            _exit(7);
        }
        sum += check(u);
        if (child & 1) patch(u);
        if (waitpid(pid, &status, 0) != pid || status != 7 << 8) fail("a child");
        sum += check(u);
    }
    return sum;
}

int main(int argc, char **argv)
{
    const char *mode = argv[1];
    int rounds = atoi(argv[2]);
    uint64_t seed = atoi(argv[3]), sum = 0;
    if (!strcmp(mode, "self")) sum = rewriting(rounds);
    else if (!strcmp(mode, "fork")) sum = forking("rwx", rounds, seed, 1);
    else if (!strcmp(mode, "threads")) {
        pthread_t threads[3];
        rounds_each = rounds;
        for (int n = 0; n < 3; n++) pthread_create(&threads[n], NULL, threaded, (void *)(seed + n));
        for (int n = 0; n < 3; n++) {
            void *part;
            pthread_join(threads[n], &part);
            sum = sum * 31 + (uint64_t)part;
        }
    } else
        sum = session(mode, rounds, seed);
    printf("%s %d %lu: %016lx\n", mode, rounds, (unsigned long)seed, (unsigned long)sum);
    return 0;
}
