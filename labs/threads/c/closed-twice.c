// The thread closes its client's descriptor when it is done, and so does the main thread. In between the kernel has
// given the number to another file.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *serve(void *descriptor) {
    close(*(int *)descriptor); // done with the client
    return NULL;
}

int main(void) {
    int client = open("/dev/null", O_RDWR);
    pthread_t thread;
    pthread_create(&thread, NULL, serve, &client);
    pthread_join(thread, NULL);
    int log = open("/dev/null", O_WRONLY); // gets the number that has become free
    printf("the client was %s the log\n", client == log ? "given the same number as" : "apart from");
    close(client); // the bug: it is closed already
    if (write(log, "x", 1) < 0)
        printf("writing to the log: %s\n", strerror(errno));
    return 0;
}
