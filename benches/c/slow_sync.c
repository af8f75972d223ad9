/* Preloaded before the C library (LD_PRELOAD), it makes each sync take SYNC_MICROSECONDS longer, as on a slower disk:
 * cc -shared -fPIC -O2 benches/c/slow_sync.c -o target/slow_sync.so */

#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int slow(long number, int fd)
{
    const char *text = getenv("SYNC_MICROSECONDS");
    long microseconds = text ? strtol(text, NULL, 10) : 0;
    struct timespec pause = {microseconds / 1000000, microseconds % 1000000 * 1000};
    nanosleep(&pause, NULL);
    return (int)syscall(number, fd);
}

int fdatasync(int fd)
{
    return slow(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return slow(SYS_fsync, fd);
}
