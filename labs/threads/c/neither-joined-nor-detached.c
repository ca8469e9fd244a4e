// A thread for each client, which is neither joined nor detached: when it has ended, its stack is kept, because another
// thread might still join it. With the argument "detach" it is not kept.
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *serve(void *unused) {
    return unused;
}

// How much address space this process has, in MiB. Linux only.
static long address_space(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld", &pages) != 1)
        return -1;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024) / 1024;
}

int main(int count, char **arguments) {
    int detach = count > 1 && strcmp(arguments[1], "detach") == 0;
    long before = address_space();
    for (int client = 0; client < 1000; client++) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, serve, NULL);
        if (error != 0) {
            printf("client %d: %s\n", client, strerror(error));
            return 1;
        }
        if (detach)
            pthread_detach(thread); // without this: the bug
        usleep(100);
    }
    usleep(100 * 1000);
    printf("1000 threads have ended, and the process has %ld MiB more\n", address_space() - before);
    return 0;
}
