// Two consumers look at the size of a queue without its lock, and take an item under the lock. There is one item. Both
// have seen it.
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int size = 1;

static void *consume(void *unused) {
    (void)unused;
    if (size > 0) {               // the bug: this is not under the lock,
        usleep(10 * 1000);        // and much can happen before
        pthread_mutex_lock(&lock);
        size--;                   // this is
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, consume, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("items left in the queue: %d\n", size);
    return 0;
}
