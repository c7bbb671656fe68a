/* Integer work of many kinds; prints what it computed. */
typedef unsigned int u32;
typedef unsigned long long u64;

static int call(int number, int a, const void *b, u32 c)
{
    register int r7 __asm__("r7") = number;
    register int r0 __asm__("r0") = a;
    register const void *r1 __asm__("r1") = b;
    register u32 r2 __asm__("r2") = c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
    return r0;
}

static void show(const char *name, u64 value)
{
    char line[64];
    int n = 0;
    while (*name)
        line[n++] = *name++;
    line[n++] = ' ';
    for (int shift = 60; shift >= 0; shift -= 4)
        line[n++] = "0123456789abcdef"[value >> shift & 15];
    line[n++] = '\n';
    call(4, 1, line, n);
}

static u32 crc(const unsigned char *data, int size)
{
    u32 c = ~0u;
    for (int i = 0; i < size; i++) {
        c ^= data[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
    }
    return ~c;
}

static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static int classify(u32 v)
{
    switch (v % 11) {
    case 0: return 3;
    case 1: return 17;
    case 2: return -5;
    case 3: return v >> 3;
    case 4: return v * 7;
    case 5: return ~v;
    case 6: return v << 9;
    case 7: return v / 3;
    case 8: return v ^ 0x5555;
    default: return 1;
    }
}

static void sort(int *a, int low, int high)
{
    int i = low, j = high, pivot = a[(low + high) / 2];
    while (i <= j) {
        while (a[i] < pivot) i++;
        while (a[j] > pivot) j--;
        if (i <= j) { int t = a[i]; a[i++] = a[j]; a[j--] = t; }
    }
    if (low < j) sort(a, low, j);
    if (i < high) sort(a, i, high);
}

static unsigned char bytes[4096];
static int numbers[2000];
static int counter;

static int __attribute__((noinline)) through(int (*f)(u32), u32 v) { return f(v); }

void __attribute__((noreturn, used)) start(void)
{
    u32 seed = 12345;
    for (int i = 0; i < 4096; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = seed >> 16;
    }
    show("crc", crc(bytes, sizeof bytes));
    show("fib", fib(18));
    for (int i = 0; i < 2000; i++) {
        seed = seed * 1103515245 + 12345;
        numbers[i] = (int)seed >> (seed & 7);
    }
    sort(numbers, 0, 1999);
    u64 sum = 0;
    for (int i = 0; i < 2000; i++)
        sum = sum * 31 + (u64)(long long)numbers[i];
    show("sort", sum);
    u32 total = 0;
    for (u32 i = 0; i < 500; i++)
        total = total * 5 + through(classify, i * 2654435761u);
    show("switch", total);
    long long wide = 1;
    for (int i = 1; i < 40; i++) {
        wide = wide * (i * 3 - 50) + (wide >> 7);
        if ((i & 3) == 0)
            wide += (int)wide / i;
        wide ^= (u64)i << (i & 63);
    }
    show("wide", wide);
    short halves = 0;
    signed char small = 0;
    for (int i = 0; i < 300; i++) {
        halves += ((short *)bytes)[i];
        small -= ((signed char *)bytes)[i * 3];
    }
    show("narrow", (u64)(long long)(halves * 1000 + small));
    for (int i = 0; i < 1000; i++)
        __atomic_add_fetch(&counter, i, __ATOMIC_SEQ_CST);
    show("atomic", counter);
    show("bits", __builtin_clz(seed | 1) * 100 + __builtin_ctz(seed | 0x100));
    call(1, 0, 0, 0);
    for (;;)
        ;
}

__asm__(".globl _start\n.type _start, %function\n"
#ifdef __thumb__
        ".thumb_func\n"
#endif
        "_start: b start\n");
