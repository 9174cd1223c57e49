/* Calls that change a disk, counted from `fault_at(number, error)` on: the number-th (from 0) kills the process
   before it is made (error 0), or it and all later ones that need space fail with that error. Preloaded, so that
   it meets the calls of every library (pyarrow) and not only Python's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long made = 0;
static long wanted = -1;
static int failure = 0;

void fault_at(long number, int error) {
  made = 0;
  failure = error;
  wanted = number;
}
long calls_made(void) { return made; }

static int fails(int needs_space) {
  if (wanted < 0) return 0;
  if (failure && !needs_space) return 0;
  long at = made++;
  if (!failure) {
    if (at == wanted) kill(getpid(), SIGKILL);
    return 0;
  }
  if (at < wanted) return 0;
  errno = failure;
  return 1;
}
static int is_file(int descriptor) {
  struct stat found;
  int kept = errno, yes = fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode);
  errno = kept;
  return yes;
}
#define NEXT(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))
#define WRITES (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)
#define MODE                          \
  mode_t mode = 0;                    \
  if (flags & (O_CREAT | O_TMPFILE)) { \
    va_list rest;                     \
    va_start(rest, flags);            \
    mode = va_arg(rest, mode_t);      \
    va_end(rest);                     \
  }
#define OPEN(name)                                              \
  int name(const char *path, int flags, ...) {                  \
    MODE if ((flags & WRITES) && fails(1)) return -1;           \
    return NEXT(int, #name, const char *, int, mode_t)(path, flags, mode); \
  }
#define OPENAT(name)                                            \
  int name(int at, const char *path, int flags, ...) {          \
    MODE if ((flags & WRITES) && fails(1)) return -1;           \
    return NEXT(int, #name, int, const char *, int, mode_t)(at, path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
ssize_t write(int d, const void *p, size_t n) {
  if (is_file(d) && fails(1)) return -1;
  return NEXT(ssize_t, "write", int, const void *, size_t)(d, p, n);
}
ssize_t writev(int d, const struct iovec *v, int n) {
  if (is_file(d) && fails(1)) return -1;
  return NEXT(ssize_t, "writev", int, const struct iovec *, int)(d, v, n);
}
#define PWRITE(name)                                            \
  ssize_t name(int d, const void *p, size_t n, off_t at) {      \
    if (fails(1)) return -1;                                    \
    return NEXT(ssize_t, #name, int, const void *, size_t, off_t)(d, p, n, at); \
  }
PWRITE(pwrite)
PWRITE(pwrite64)
int mkdir(const char *p, mode_t m) { return fails(1) ? -1 : NEXT(int, "mkdir", const char *, mode_t)(p, m); }
int mkdirat(int d, const char *p, mode_t m) {
  return fails(1) ? -1 : NEXT(int, "mkdirat", int, const char *, mode_t)(d, p, m);
}
int fsync(int d) { return fails(1) ? -1 : NEXT(int, "fsync", int)(d); }
int fdatasync(int d) { return fails(1) ? -1 : NEXT(int, "fdatasync", int)(d); }
int unlink(const char *p) { return fails(0) ? -1 : NEXT(int, "unlink", const char *)(p); }
int unlinkat(int d, const char *p, int f) {
  return fails(0) ? -1 : NEXT(int, "unlinkat", int, const char *, int)(d, p, f);
}
int rmdir(const char *p) { return fails(0) ? -1 : NEXT(int, "rmdir", const char *)(p); }
int chmod(const char *p, mode_t m) { return fails(0) ? -1 : NEXT(int, "chmod", const char *, mode_t)(p, m); }
int ftruncate(int d, off_t n) { return fails(0) ? -1 : NEXT(int, "ftruncate", int, off_t)(d, n); }
int rename(const char *a, const char *b) {
  return fails(0) ? -1 : NEXT(int, "rename", const char *, const char *)(a, b);
}
int renameat(int d, const char *a, int e, const char *b) {
  return fails(0) ? -1 : NEXT(int, "renameat", int, const char *, int, const char *)(d, a, e, b);
}
int renameat2(int d, const char *a, int e, const char *b, unsigned f) {
  return fails(0) ? -1 : NEXT(int, "renameat2", int, const char *, int, const char *, unsigned)(d, a, e, b, f);
}
