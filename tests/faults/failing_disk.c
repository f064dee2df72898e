/* Loaded before libc (LD_PRELOAD): the n-th operation that changes a folder fails, or kills the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char watched[PATH_MAX];
static atomic_long done, number;
static int error; /* an errno, or 0 to kill */

/* From now on the n-th operation under `folder` fails with `errno_or_0`, and all after it, as on a full disk;
   0 kills the process at the n-th. */
void disk_arm(const char* folder, long n, int errno_or_0) {
  snprintf(watched, sizeof watched, "%s/", folder);
  atomic_store(&done, 0);
  error = errno_or_0;
  atomic_store(&number, n);
}

long disk_operations(void) { return atomic_load(&done); }

/* Whether the operation is to fail; counts it. */
static int fails(void) {
  long n = atomic_load(&number), now = atomic_fetch_add(&done, 1) + 1;
  if (now < n) return 0;
  if (error == 0) {
    if (now == n) kill(getpid(), SIGKILL);
    return 0;
  }
  errno = error;
  return 1;
}

static int path_fails(int folder, const char* path) {
  char whole[2 * PATH_MAX], link[64];
  if (!watched[0] || atomic_load(&number) == 0) return 0;
  if (path[0] == '/') {
    snprintf(whole, sizeof whole, "%s", path);
  } else {
    ssize_t length;
    if (folder == AT_FDCWD) {
      if (!getcwd(whole, PATH_MAX)) return 0;
      length = (ssize_t)strlen(whole);
    } else {
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      length = readlink(link, whole, PATH_MAX);
      if (length < 0) return 0;
    }
    snprintf(whole + length, sizeof whole - (size_t)length, "/%s", path);
  }
  return strncmp(whole, watched, strlen(watched)) == 0 && fails();
}

static int file_fails(int file) {
  char link[64], whole[PATH_MAX];
  if (!watched[0] || atomic_load(&number) == 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, whole, sizeof whole - 1);
  if (length < 0) return 0;
  whole[length] = 0;
  return strncmp(whole, watched, strlen(watched)) == 0 && fails();
}

#define NEXT(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define OPEN(NAME)                                                              \
  int NAME(const char* path, int flags, ...) {                                  \
    va_list rest;                                                               \
    va_start(rest, flags);                                                      \
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;                 \
    va_end(rest);                                                               \
    if ((flags & O_CREAT) && path_fails(AT_FDCWD, path)) return -1;             \
    return NEXT(int, #NAME, const char*, int, ...)(path, flags, mode);          \
  }
OPEN(open)
OPEN(open64)

#define OPEN_AT(NAME)                                                           \
  int NAME(int folder, const char* path, int flags, ...) {                      \
    va_list rest;                                                               \
    va_start(rest, flags);                                                      \
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;                 \
    va_end(rest);                                                               \
    if ((flags & O_CREAT) && path_fails(folder, path)) return -1;               \
    return NEXT(int, #NAME, int, const char*, int, ...)(folder, path, flags, mode); \
  }
OPEN_AT(openat)
OPEN_AT(openat64)

ssize_t write(int file, const void* data, size_t size) {
  if (file_fails(file)) return -1;
  return NEXT(ssize_t, "write", int, const void*, size_t)(file, data, size);
}
ssize_t writev(int file, const struct iovec* parts, int count) {
  if (file_fails(file)) return -1;
  return NEXT(ssize_t, "writev", int, const struct iovec*, int)(file, parts, count);
}
#define PWRITE(NAME)                                                                            \
  ssize_t NAME(int file, const void* data, size_t size, off_t offset) {                         \
    if (file_fails(file)) return -1;                                                            \
    return NEXT(ssize_t, #NAME, int, const void*, size_t, off_t)(file, data, size, offset);     \
  }
PWRITE(pwrite)
PWRITE(pwrite64)
#define TRUNCATE(NAME)                                     \
  int NAME(int file, off_t size) {                         \
    if (file_fails(file)) return -1;                       \
    return NEXT(int, #NAME, int, off_t)(file, size);       \
  }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)
ssize_t copy_file_range(int from, off64_t* from_at, int to, off64_t* to_at, size_t size, unsigned flags) {
  if (file_fails(to)) return -1;
  return NEXT(ssize_t, "copy_file_range", int, off64_t*, int, off64_t*, size_t, unsigned)(
      from, from_at, to, to_at, size, flags);
}
#define SENDFILE(NAME)                                                              \
  ssize_t NAME(int to, int from, off_t* offset, size_t size) {                      \
    if (file_fails(to)) return -1;                                                  \
    return NEXT(ssize_t, #NAME, int, int, off_t*, size_t)(to, from, offset, size);  \
  }
SENDFILE(sendfile)
SENDFILE(sendfile64)
int mkdir(const char* path, mode_t mode) {
  if (path_fails(AT_FDCWD, path)) return -1;
  return NEXT(int, "mkdir", const char*, mode_t)(path, mode);
}
int mkdirat(int folder, const char* path, mode_t mode) {
  if (path_fails(folder, path)) return -1;
  return NEXT(int, "mkdirat", int, const char*, mode_t)(folder, path, mode);
}
int rename(const char* from, const char* to) {
  if (path_fails(AT_FDCWD, to)) return -1;
  return NEXT(int, "rename", const char*, const char*)(from, to);
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  if (path_fails(to_folder, to)) return -1;
  return NEXT(int, "renameat2", int, const char*, int, const char*, unsigned)(
      from_folder, from, to_folder, to, flags);
}
int link(const char* from, const char* to) {
  if (path_fails(AT_FDCWD, to)) return -1;
  return NEXT(int, "link", const char*, const char*)(from, to);
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  if (path_fails(to_folder, to)) return -1;
  return NEXT(int, "linkat", int, const char*, int, const char*, int)(from_folder, from, to_folder, to, flags);
}
/* Removing needs no room on a disk, but a process may be killed before it. */
int unlink(const char* path) {
  if (error == 0) path_fails(AT_FDCWD, path);
  return NEXT(int, "unlink", const char*)(path);
}
int unlinkat(int folder, const char* path, int flags) {
  if (error == 0) path_fails(folder, path);
  return NEXT(int, "unlinkat", int, const char*, int)(folder, path, flags);
}
int rmdir(const char* path) {
  if (error == 0) path_fails(AT_FDCWD, path);
  return NEXT(int, "rmdir", const char*)(path);
}
