// Each thread is to serve one client, and gets the address of the variable that holds the client's number. When the
// thread looks, the loop has changed the variable.
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *serve(void *argument) {
    usleep(10 * 1000); // the scheduler decides when a thread begins
    printf("serving client %d\n", *(int *)argument);
    return NULL;
}

int main(void) {
    pthread_t threads[3];
    int client;
    for (client = 1; client <= 3; client++)
        pthread_create(&threads[client - 1], NULL, serve, &client); // the bug: one variable for all
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
