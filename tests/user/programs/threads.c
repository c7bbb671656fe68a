/* Threads: mutexes, condition variables, thread-local storage, signals to one thread. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static long total;
static int ready;
static __thread long mine;

static void *work(void *argument)
{
    mine = (long)argument;
    pthread_mutex_lock(&mutex);
    while (!ready)
        pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&mutex);
        total += mine;
        pthread_mutex_unlock(&mutex);
    }
    return (void *)(mine * 10);
}

static volatile pthread_t signalled;
static void handler(int number)
{
    signalled = pthread_self();
    (void)number;
}

static void *sleeper(void *argument)
{
    pause();
    (void)argument;
    return NULL;
}

static void *forever(void *argument)
{
    for (;;)
        sleep(100);
    return argument;
}

int main(void)
{
    pthread_t threads[4], other;
    void *result;
    for (long i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, (void *)(i + 1));
    pthread_mutex_lock(&mutex);
    ready = 1;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        printf("%ld\n", (long)result);
    }
    printf("total %ld\n", total);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&other, NULL, sleeper, NULL);
    usleep(30000);
    pthread_kill(other, SIGUSR1);
    pthread_join(other, NULL);
    printf("signalled %d\n", pthread_equal(signalled, other));
    pthread_create(&other, NULL, forever, NULL);
    usleep(10000);
    pthread_cancel(other);
    pthread_join(other, &result);
    printf("cancelled %d\n", result == PTHREAD_CANCELED);
    pthread_create(&other, NULL, forever, NULL);
    fflush(stdout);
    return 3;
}
