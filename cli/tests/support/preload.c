/* Preloaded before the C library (LD_PRELOAD), it lets tests observe file system calls, make them fail, and set the
   clock.

   NO_TMPFILE      files without a name cannot be made, or cannot get one
   HOLD_WRITES     a write of 1000 bytes or more to a file writes half of them, and does not return
   FULL_DISK       the number of bytes that fit on the disk, of such writes
   FOLDER_FSYNC    the error number of fsync on a folder
   FSYNC_LOG       the file that lists the folders with a successful fsync
   CLOCK_OFFSET    the file with the seconds to add to the clock, 8 bytes (little-endian), which may change at any time */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int open64(const char *path, int flags, ...) {
    static int (*next)(const char *, int, ...);
    if (!next)
        next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    if ((flags & O_TMPFILE) == O_TMPFILE && getenv("NO_TMPFILE")) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return next(path, flags, mode);
}

/* The program's check of the path under which a file gets its name. */
int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
    static int (*next)(int, const char *, int, unsigned, struct statx *);
    if (!next)
        next = (int (*)(int, const char *, int, unsigned, struct statx *))dlsym(RTLD_NEXT, "statx");
    if (path && !strncmp(path, "/proc/self/fd/", 14) && getenv("NO_TMPFILE")) {
        errno = ENOENT;
        return -1;
    }
    return next(folder, path, flags, mask, found);
}

ssize_t write(int file, const void *data, size_t len) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next)
        next = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    struct stat found;
    if (len < 1000 || fstat(file, &found) || !S_ISREG(found.st_mode))
        return next(file, data, len);
    if (getenv("FULL_DISK")) {
        static size_t used;
        size_t left = strtoul(getenv("FULL_DISK"), NULL, 10) - used;
        if (!left) {
            errno = ENOSPC;
            return -1;
        }
        ssize_t written = next(file, data, len < left ? len : left);
        used += written < 0 ? 0 : (size_t)written;
        return written;
    }
    if (!getenv("HOLD_WRITES"))
        return next(file, data, len);
    next(file, data, len / 2);
    for (;;)
        pause();
}

int fsync(int file) {
    static int (*next)(int);
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    struct stat found;
    if (fstat(file, &found) || !S_ISDIR(found.st_mode))
        return next(file);
    if (getenv("FOLDER_FSYNC")) {
        errno = atoi(getenv("FOLDER_FSYNC"));
        return -1;
    }
    if (getenv("FSYNC_LOG")) {
        char link[64], path[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t len = readlink(link, path, sizeof path);
        FILE *log = fopen(getenv("FSYNC_LOG"), "a");
        if (log && len > 0)
            fprintf(log, "%.*s\n", (int)len, path);
        if (log)
            fclose(log);
    }
    return next(file);
}

static const volatile int64_t *clock_offset;

__attribute__((constructor)) static void open_clock_offset(void) {
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *clock_offset, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED)
        clock_offset = mapped;
    if (file >= 0)
        close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, time);
    if (!result && clock == CLOCK_REALTIME && clock_offset)
        time->tv_sec += (int64_t)le64toh((uint64_t)*clock_offset);
    return result;
}
